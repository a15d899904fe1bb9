"""What the models read out of the packages' own words."""

import polars as pl
from pydantic import BaseModel, Field

import infergraph as ig
from assets.packages.declared import LICENCES, Licence

LICENCE_FAMILIES = {
    "MIT": "MIT License. Permission is hereby granted, free of charge, to any person obtaining a copy of this",
    "BSD": "BSD License. Redistribution and use in source and binary forms, with or without modification",
    "Apache": "Apache License, Version 2.0. Terms and conditions for use, reproduction, and distribution",
    "PSF": "Python Software Foundation License. A. History of the software, PSF License Agreement for Python",
    "ISC": "ISC License. Permission to use and copy this software for any purpose with or without fee is granted",
    "public domain": "Unlicense or CC0. This is free and unencumbered software released into the public domain",
    "MPL": "Mozilla Public License, Version 2.0. This Source Code Form is subject to the terms of the MPL",
    "LGPL": "GNU Lesser General Public License, LGPL. This library is free software",
    "EPL": "Eclipse Public License, EPL. The accompanying program is provided under this agreement",
    "GPL": "GNU General Public License, GPL. This program is free software",
    "AGPL": "GNU Affero General Public License, AGPL",
    "commercial": "Proprietary software, all rights reserved, commercial licence, closed source, end user licence",
    "not stated": "The licence is not stated. UNKNOWN, to be decided, see the LICENSE",
}
KIND_OF_FAMILY: dict[str, Licence] = {
    **dict.fromkeys(("MIT", "BSD", "Apache", "PSF", "ISC", "public domain"), "permissive"),
    **dict.fromkeys(("MPL", "LGPL", "EPL"), "weak copyleft"),
    **dict.fromkeys(("GPL", "AGPL"), "strong copyleft"),
    "commercial": "proprietary",
    "not stated": "unknown",
}


AREAS = {
    "web": "web and networking: HTTP client, HTTP requests, web server, ASGI, sockets, WebSocket, URL, GraphQL, gRPC",
    "concurrency": "concurrency: event loop, coroutines, callbacks, locks, greenlets, retry and backoff",
    "data": "data and numbers: arrays, data frames, scientific computing, statistics, visualization, sorting",
    "code quality": "code quality: unit tests, testing framework, linting source code",
    "formats": "formats and parsing: parser, serialization, data validation, JSON, YAML, TOML, Markdown, encoding",
    "terminal": "terminal: command-line interface, colored output, progress bar, table printing, shell, logging",
    "AI": "artificial intelligence: LLM API client, tokenizer, embeddings, model inference, model hub",
    "storage": "databases and files: SQL database, PostgreSQL, migrations, file system, paths, watching files",
    "security": "security: cryptography, TLS certificates, signatures",
    "time": "dates and time zones: datetime, calendar, time zone database",
    "language": "language: type hints, typing, type stubs, backports, compatibility, foreign functions, packaging",
    "operations": "pipelines: orchestration of data assets, workflow scheduler, tracing, telemetry, monitoring",
}


class PackageFacts(BaseModel):
    """One sentence about a Python package."""

    purpose: str = Field(
        description="What the package does, as a phrase of 5 to 15 words that begins with a verb",
        min_length=20,
        max_length=140,
    )


EXAMPLES = [
    (
        "sparrow: Sparrow sends e-mail.\nSparrow is a small command-line program that sends e-mail through any SMTP "
        "server. Install it with pip and call `sparrow send`.",
        PackageFacts(purpose="sends e-mail through any SMTP server"),
    ),
    (
        "pytest-stopwatch: Pytest plugin that measures slow tests\nShows which tests took the most time.",
        PackageFacts(purpose="shows which tests took the most time"),
    ),
    (
        "lattice: N-dimensional lattices\nLattice is a library of arrays for physics simulations, with "
        "interpolation and Fourier transforms.",
        PackageFacts(purpose="arrays for physics simulations, with interpolation and Fourier transforms"),
    ),
]


@ig.semantic_asset(group_name="packages", key={"installed_packages": "package"}, max_reject_rate=0.2)
def package_facts(installed_packages: ig.SemanticFrame) -> ig.SemanticFrame:
    """Purpose and area of every package, from its summary and the first section of its README."""
    return (
        installed_packages.select("package", "version", "about")
        .semantic.extract("about", PackageFacts, examples=EXAMPLES)
        .semantic.classify("about", AREAS, into="area", instruction="What is this Python package about?")
    )


@ig.semantic_asset(group_name="packages", key={"installed_packages": "package"}, max_reject_rate=0.2)
def package_licence(installed_packages: ig.SemanticFrame) -> ig.SemanticFrame:
    """Licence family and kind of every package, from the words of its licence file and README, not what it declares.

    A model is asked for the family (MIT, GPL...), which can be told from the words; what kind a family is, is a fact
    that needs no model.
    """
    return (
        installed_packages.select("package", "version", "licence_words")
        .semantic.classify("licence_words", LICENCE_FAMILIES, into="family", instruction="Which licence is this?")
        .with_columns(
            licence=pl.col("family").cast(pl.String).replace_strict(KIND_OF_FAMILY, return_dtype=pl.Enum(LICENCES))
        )
    )

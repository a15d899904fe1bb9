"""What the models read out of the packages' own words."""

from typing import Literal

import polars as pl
from pydantic import BaseModel, Field

import infergraph as ig
from assets.packages.declared import LICENCES, Licence

LICENCE_FAMILIES = {
    "MIT": "MIT License. Permission is hereby granted, free of charge, to any person obtaining a copy of this",
    "BSD": "BSD License. Redistribution and use in source and binary forms, with or without modification",
    "Apache": "Apache License, Version 2.0. Terms and conditions for use, reproduction, and distribution",
    "PSF": "Python Software Foundation License. A. History of the software, PSF License Agreement for Python",
    "ISC": "ISC License. Permission to use, copy, modify, and/or distribute this software for any purpose",
    "public domain": "Unlicense or CC0. This is free and unencumbered software released into the public domain",
    "MPL": "Mozilla Public License, Version 2.0. This Source Code Form is subject to the terms of the MPL",
    "LGPL": "GNU Lesser General Public License, LGPL. This library is free software",
    "EPL": "Eclipse Public License, EPL. The accompanying program is provided under this agreement",
    "GPL": "GNU General Public License, GPL. This program is free software",
    "AGPL": "GNU Affero General Public License, AGPL",
    "commercial": "Proprietary. All rights reserved. End user license agreement, EULA. No part may be copied",
    "not stated": "License: see the LICENSE file, unknown, other, none, to be decided",
}
KIND_OF_FAMILY: dict[str, Licence] = {
    **dict.fromkeys(("MIT", "BSD", "Apache", "PSF", "ISC", "public domain"), "permissive"),
    **dict.fromkeys(("MPL", "LGPL", "EPL"), "weak copyleft"),
    **dict.fromkeys(("GPL", "AGPL"), "strong copyleft"),
    "commercial": "proprietary",
    "not stated": "unknown",
}


class PackageFacts(BaseModel):
    """What somebody who finds a package in a requirements file wants to know first."""

    purpose: str = Field(description="what the package is for, in one short sentence", max_length=160)
    audience: Literal["developers", "data scientists", "system administrators", "end users"] = Field(
        description="who uses the package"
    )
    kind: Literal["library", "framework", "command-line tool", "plugin", "type stubs"] = Field(
        description="what sort of package it is"
    )


@ig.semantic_asset(group_name="packages", key={"installed_packages": "package"}, max_reject_rate=0.2)
def package_facts(installed_packages: ig.SemanticFrame) -> ig.SemanticFrame:
    """Purpose, audience and kind of every package, from its summary and the first section of its README."""
    return installed_packages.select("package", "version", "about").semantic.extract("about", PackageFacts)


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

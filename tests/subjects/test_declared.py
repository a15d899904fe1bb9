"""What packages declare about their licence, as one of five kinds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.packages.declared import FAMILIES, LICENCES, declared_families, declared_licence

OSI = "License :: OSI Approved :: "


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("MIT", "permissive"),
        ("MIT-0", "permissive"),
        ("0BSD", "permissive"),
        ("BSD-3-Clause", "permissive"),
        ("Apache-2.0", "permissive"),
        ("PSF-2.0", "permissive"),
        ("ISC", "permissive"),
        ("CC-BY-4.0", "permissive"),
        ("BSL-1.0", "permissive"),
        ("MPL-2.0", "weak copyleft"),
        ("LGPL-2.1-or-later", "weak copyleft"),
        ("EPL-2.0", "weak copyleft"),
        ("GPL-3.0-only", "strong copyleft"),
        ("GPL-2.0+", "strong copyleft"),
        ("AGPL-3.0-or-later", "strong copyleft"),
        ("CC-BY-SA-4.0", "strong copyleft"),
        ("BUSL-1.1", "proprietary"),
        ("SSPL-1.0", "proprietary"),
        ("Elastic-2.0", "proprietary"),
        ("CC-BY-NC-4.0", "proprietary"),
        ("LicenseRef-NVIDIA-Proprietary", "proprietary"),
        ("LicenseRef-House-Rules", "unknown"),
        ("apache-2.0", "permissive"),
        ("MIT OR GPL-3.0-only", "permissive"),
        ("GPL-2.0-only OR LGPL-2.1-only", "weak copyleft"),
        ("MIT AND MPL-2.0", "weak copyleft"),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", "permissive"),
        ("(MIT OR Apache-2.0) AND GPL-3.0-only", "strong copyleft"),
        ("MIT OR (Apache-2.0 AND GPL-3.0-only)", "permissive"),
        ("(MIT AND (ISC OR GPL-3.0-only))", "permissive"),
        ("(MIT) AND (GPL-3.0-only)", "strong copyleft"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "weak copyleft"),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", "weak copyleft"),
        ("Apache-2.0 WITH LLVM-exception", "permissive"),
        ("mit or gpl-3.0-only", "permissive"),
    ],
)
def test_spdx_expression(expression: str, kind: str) -> None:
    assert declared_licence(expression, [OSI + "GNU General Public License (GPL)"]) == kind


@pytest.mark.parametrize(
    ("classifiers", "kind"),
    [
        ([OSI + "MIT License"], "permissive"),
        ([OSI + "MIT No Attribution License (MIT-0)"], "permissive"),
        ([OSI + "Apache Software License"], "permissive"),
        ([OSI + "BSD License"], "permissive"),
        ([OSI + "Python Software Foundation License"], "permissive"),
        ([OSI + "ISC License (ISCL)"], "permissive"),
        (["License :: Public Domain"], "permissive"),
        ([OSI + "Mozilla Public License 2.0 (MPL 2.0)"], "weak copyleft"),
        ([OSI + "GNU Lesser General Public License v3 or later (LGPLv3+)"], "weak copyleft"),
        ([OSI + "GNU Library or Lesser General Public License (LGPL)"], "weak copyleft"),
        ([OSI + "GNU General Public License v2 or later (GPLv2+)"], "strong copyleft"),
        ([OSI + "GNU Affero General Public License v3"], "strong copyleft"),
        (["License :: Other/Proprietary License"], "proprietary"),
        (["License :: Free for non-commercial use"], "proprietary"),
        (["License :: DFSG approved", OSI + "MIT License"], "permissive"),
        ([OSI + "BSD License", OSI + "Mozilla Public License 2.0 (MPL 2.0)"], "weak copyleft"),
        (["License :: OSI Approved :: A Licence Nobody Knows"], "unknown"),
        (["License :: OSI Approved"], None),
        (["Programming Language :: Python :: 3"], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("expression", [None, "", "  "])
def test_classifiers_count_where_there_is_no_expression(
    expression: str | None, classifiers: list[str], kind: str | None
) -> None:
    assert declared_licence(expression, classifiers) == kind


@given(st.text(alphabet="()MITGPL-ANDOR WH3.0 "))
def test_any_text_in_the_metadata_gives_an_answer(expression: str) -> None:
    assert declared_licence(expression, []) in (*LICENCES, None)


names = st.sampled_from(["MIT", "MPL-2.0", "GPL-3.0-only", "BUSL-1.1"])


@given(names, names)
def test_or_is_never_stricter_than_and(left: str, right: str) -> None:
    order = ["permissive", "weak copyleft", "strong copyleft", "proprietary"]
    kinds = sorted((declared_licence(left, []), declared_licence(right, [])), key=lambda kind: order.index(str(kind)))
    assert declared_licence(f"{left} OR {right}", []) == kinds[0]
    assert declared_licence(f"({left}) AND ({right})", []) == kinds[1]


@pytest.mark.parametrize(
    ("expression", "families"),
    [
        ("MIT", ["MIT"]),
        ("Apache-2.0 AND MIT", ["MIT", "Apache"]),
        ("0BSD", ["ISC"]),
        ("LGPL-3.0-only", ["LGPL"]),
        ("AGPL-3.0-only", ["AGPL"]),
        ("GPL-2.0-or-later", ["GPL"]),
        ("Zlib", []),
        ("LIMITED-1.0", []),
    ],
)
def test_families_of_an_expression(expression: str, families: list[str]) -> None:
    assert declared_families(expression, [OSI + "ISC License (ISCL)"]) == families


def test_families_of_classifiers() -> None:
    assert declared_families(None, [OSI + "GNU Lesser General Public License v3 (LGPLv3)"]) == ["LGPL"]
    assert declared_families(None, [OSI + "GNU Affero General Public License v3"]) == ["AGPL"]
    assert declared_families(None, ["License :: OSI Approved", "Topic :: Software Development :: MIT"]) == []


def test_the_model_is_offered_every_family_that_can_be_declared() -> None:
    from assets.packages.facts import KIND_OF_FAMILY, LICENCE_FAMILIES

    assert set(LICENCE_FAMILIES) == set(KIND_OF_FAMILY) == {*FAMILIES, "not stated"}

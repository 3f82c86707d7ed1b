"""CITATION.cff is valid by its schema (Citation File Format 1.2.0) and says what pyproject.toml says."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
# https://github.com/citation-file-format/citation-file-format/blob/1.2.0/schema-guide.md
REQUIRED = {"authors", "cff-version", "message", "title"}
KNOWN = {
    *REQUIRED, "abstract", "commit", "contact", "date-released", "doi", "identifiers", "keywords", "license",
    "license-url", "preferred-citation", "references", "repository", "repository-artifact", "repository-code", "type",
    "url", "version",
}  # fmt: skip
PERSON = {"family-names", "given-names", "name-particle", "name-suffix", "affiliation", "orcid", "email", "alias"}


def test_the_citation_is_valid_and_true() -> None:
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert said.keys() >= REQUIRED and said.keys() <= KNOWN
    assert said["cff-version"] == "1.2.0" and said["type"] in ("software", "dataset")
    for author in [*said["authors"], *(author for work in said["references"] for author in work["authors"])]:
        assert ("name" in author) != bool(author.keys() & PERSON), author  # an entity or a person
    for work in said["references"]:
        assert work.keys() >= {"authors", "title", "type"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (said["version"], said["license"]) == (project["version"], project["license"])
    assert [author["name"] for author in said["authors"]] == [author["name"] for author in project["authors"]]

"""Validates the RO-Crate in a folder against a profile, without the network.

Usage: ro_crate.py FOLDER PROFILE    (PROFILE: provenance-run-crate, ...)
Prints the problems, what is required and what is recommended, as JSON. The rules are those of the package roc-validator; the JSON-LD context of RO-Crate 1.1,
which it would fetch, is the one that the package rocrate brings.
"""

import json
import pathlib
import sys

import requests
import rocrate
from rocrate_validator import models, services
from rocrate_validator.utils import http

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


class LocalRequester:
    """Answers for the one address that there is."""

    offline = True

    def get(self, url, **_):
        if url != CONTEXT:
            raise requests.ConnectionError(f"no network: {url}")
        answer = requests.Response()
        answer.status_code = 200
        answer.headers["Content-Type"] = "application/ld+json"
        answer._content = (pathlib.Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_bytes()
        return answer


http.HttpRequester.__new__ = lambda cls, *_, **__: LocalRequester()

folder, profile = sys.argv[1:]
settings = models.ValidationSettings(
    rocrate_uri=folder,
    profile_identifier=profile,
    requirement_severity=models.Severity.RECOMMENDED,
    abort_on_first=False,
)
result = services.validate(settings)
issues = [
    {"severity": issue.severity.name, "check": issue.check.identifier, "message": issue.message}
    for issue in result.get_issues()
]
print(json.dumps({"checked": len(result.executed_checks), "issues": issues}))

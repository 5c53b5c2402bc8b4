"""Reports as JSON."""

from __future__ import annotations

import json
import math

from tinkex.check.result import ServerReport, fault, passed


def test_numbers_that_json_has_not():
    """Log-probabilities of impossible tokens, and missing ones, do not keep a report from being written."""
    odd = fault("seed", "x", "y", "z", evidence={"sampled": ((-math.inf, math.nan, -1.5),), 5: None})
    report = ServerReport(server="s", model="m", results=(odd, passed("top_p", "fine", p=0.5)))
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["results"][0]["evidence"] == {"sampled": [["-inf", "nan", -1.5]], "5": None}
    assert (plain["ok"], plain["results"][1]["p"]) == (False, 0.5)


def test_verdicts():
    """A report is good where no result is a fault."""
    report = ServerReport(server="s", model="m", results=(passed("seed", "x"),))
    assert report.ok
    assert report.with_verdict("ok") == [passed("seed", "x")]
    assert report.with_verdict("fault", "absent") == []

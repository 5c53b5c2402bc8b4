"""A Flask application that samples."""

import flask
from sampling import sampling_client, service

import tinkex
from tinkex.web import error_response

app = flask.Flask(__name__)


@app.post("/complete")
def complete():
    """Answer with the tokens that follow those that were sent."""
    try:
        prompt = tinkex.ModelInput.from_ints(flask.request.get_json()["tokens"])
    except (KeyError, TypeError, ValueError) as error:
        return {"error": str(error)}, 400
    params = tinkex.SamplingParams(max_tokens=16)
    response = sampling_client().sample(prompt, params, timeout=30).result()
    return {"tokens": response.sequences[0].tokens}


@app.errorhandler(tinkex.TinkexError)
def sampling_failed(error: tinkex.TinkexError):
    """Tell the log what happened, and the visitor whether to try again."""
    app.logger.warning("sampling failed: %s", error)
    return {"error": "sampling failed"}, *error_response(error)


@app.get("/healthz")
def healthz():
    """Answer a health check; never blocks and sends nothing."""
    health = service.health()
    return {"ok": health.ok, "reason": health.reason}, 200 if health.ok else 503

"""A chat for a web page, text in and text out: ``flask --app chat_view run``, on the small local model."""

import functools

import flask

import tinkex
from tinkex.web import error_response

app = flask.Flask(__name__)


@functools.cache
def sampling_client() -> tinkex.SamplingClient:
    """Return the client of this process, which the first request makes."""
    service = tinkex.ServiceClient.local()  # tinkex.ServiceClient() is the hosted service
    return service.create_sampling_client(base_model=service.local_model)


@app.post("/chat")
def chat() -> flask.Response:
    """Answer messages in OpenAI's form."""
    messages = flask.request.get_json()["messages"]
    response = sampling_client().chat(messages, max_tokens=64, temperature=0.3, timeout=60).result()
    return flask.jsonify(message=response.message)


@app.errorhandler(tinkex.TinkexError)
def failed(error: tinkex.TinkexError) -> flask.Response:
    """Tell the log what happened, and the visitor whether to try again."""
    app.logger.warning("sampling failed: %s", error)
    status, headers = error_response(error)
    return flask.Response("sampling failed", status, headers)

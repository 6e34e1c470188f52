"""Makes one call with the OpenAI SDK, as its order says, and prints what its user gets to see."""

import json
import sys
import time

import openai

MESSAGES = [{"role": "user", "content": "Who holds the key?"}]


def client(order):
    options = {"max_retries": order["max_retries"], "default_headers": order["headers"]}
    if order["http2"]:
        options["http_client"] = openai.DefaultHttpxClient(http1=False, http2=True)
    # The SDK's own would be wss, and this gateway has no certificate.
    path = "/openai/v1" if order["interface"] == "v1" else "/openai"
    options["websocket_base_url"] = order["endpoint"].replace("http", "ws", 1) + path
    if order["interface"] == "v1":
        base_url = order["endpoint"] + "/openai/v1/"
        return openai.OpenAI(base_url=base_url, api_key=order["credential"]["token"], **options)
    options |= {"azure_endpoint": order["endpoint"], "api_version": "2024-10-21"}
    match order["credential"]:
        case {"token": token}:
            return openai.AzureOpenAI(azure_ad_token_provider=lambda: token, **options)
        case {"key": key}:
            return openai.AzureOpenAI(api_key=key, **options)


def chat(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES)
    return {"model": answer.model, "text": answer.choices[0].message.content}


def stream(client, model):
    options = {"include_usage": True}
    words, times, usage = [], [], None
    for chunk in client.chat.completions.create(
        model=model, messages=MESSAGES, stream=True, stream_options=options
    ):
        times.append(time.monotonic())
        usage = chunk.usage or usage
        words += [choice.delta.content or "" for choice in chunk.choices]
    spread = 1000 * (times[-1] - times[0])
    return {"text": "".join(words), "tokens": usage.total_tokens, "spread_ms": spread}


def count(client, model):
    """Streams with `stream_options` as the order has it, or without, and tells all that was seen of usage."""
    options = {} if ORDER["stream_options"] is None else {"stream_options": ORDER["stream_options"]}
    words, usages, empty = [], [], 0
    for chunk in client.chat.completions.create(
        model=model, messages=MESSAGES, stream=True, **options
    ):
        words += [choice.delta.content or "" for choice in chunk.choices]
        usages += [chunk.usage.total_tokens] if chunk.usage else []
        empty += not chunk.choices
    return {"text": "".join(words), "usages": usages, "empty": empty}


def embeddings(client, model):
    answer = client.embeddings.create(model=model, input=["one", "two"], encoding_format="float")
    return {"model": answer.model, "vectors": [item.embedding for item in answer.data]}


def models(client, _):
    return {"models": [model.id for model in client.models.list()]}


def realtime(client, model):
    with client.realtime.connect(model=model) as connection:
        return {"model": connection.recv().session.model}


def tuning(client, _):
    return {"jobs": [job.id for job in client.fine_tuning.jobs.list()]}


def outcome(order):
    try:
        return globals()[order["call"]](client(order), order["model"])
    except openai.APIStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "code": error.code,
            "type": error.type,
            "message": str(error),
        }


ORDER = json.loads(sys.argv[1])
print(json.dumps(outcome(ORDER)))

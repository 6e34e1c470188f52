"""Streams one answer with LangChain, as its order says, and prints what its user gets to see."""

import json
import sys

from langchain_openai import AzureChatOpenAI, ChatOpenAI

ORDER = json.loads(sys.argv[1])


def model():
    options = {"max_retries": 0, "stream_usage": ORDER["stream_usage"]}
    if ORDER["interface"] == "v1":
        base_url = ORDER["endpoint"] + "/openai/v1/"
        token = ORDER["credential"]["token"]
        return ChatOpenAI(base_url=base_url, api_key=token, model=ORDER["model"], **options)
    return AzureChatOpenAI(
        azure_endpoint=ORDER["endpoint"],
        azure_deployment=ORDER["model"],
        api_version="2024-10-21",
        azure_ad_token=ORDER["credential"]["token"],
        **options,
    )


text, usages = "", []
for chunk in model().stream("Who holds the key?"):
    text += chunk.text
    usages += [chunk.usage_metadata["total_tokens"]] if chunk.usage_metadata else []
print(json.dumps({"text": text, "usages": usages}))

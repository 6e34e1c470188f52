"""Makes one call with Anthropic's SDK for Foundry, as its order says, and prints what its user gets to see."""

import json
import sys

from anthropic import AnthropicFoundry

ORDER = json.loads(sys.argv[1])
REQUEST = {
    "model": ORDER["model"],
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Who holds the key?"}],
}

client = AnthropicFoundry(
    azure_ad_token_provider=lambda: ORDER["credential"]["token"],
    base_url=ORDER["endpoint"] + "/anthropic/",
    max_retries=0,
)
if ORDER["call"] == "stream":
    with client.messages.stream(**REQUEST) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
else:
    message = client.messages.create(**REQUEST)
    text = message.content[0].text
usage = message.usage
print(
    json.dumps(
        {
            "text": text,
            "input": usage.input_tokens,
            "cached": usage.cache_read_input_tokens,
            "output": usage.output_tokens,
        }
    )
)

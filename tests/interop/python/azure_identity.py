"""Takes a token of a managed identity with Azure's SDK, as its order says, and prints it."""

import json
import sys

from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ManagedIdentityCredential

SELECTORS = {
    "system-assigned": lambda _: {},
    "client_id": lambda id: {"client_id": id},
    "object_id": lambda id: {"identity_config": {"object_id": id}},
    "msi_res_id": lambda id: {"identity_config": {"resource_id": id}},
}


def outcome(order):
    credential = ManagedIdentityCredential(**SELECTORS[order["select"]](order.get("id")))
    try:
        token = credential.get_token(order["scope"])
    except ClientAuthenticationError as error:
        return {"error": str(error)}
    return {"token": token.token, "expires_on": token.expires_on}


print(json.dumps(outcome(json.loads(sys.argv[1]))))

"""An application's own token for the gateway (RFC 6749, section 4.4), and the address to send it to."""

import os
import time

import requests

GATEWAY = os.environ.get("GATEWAY", "https://gateway.example.com/openai")
TENANT = "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47"


class Token(requests.auth.AuthBase):
    """Puts the token on each request, and fetches the next one five minutes before it expires."""

    def __init__(self):
        self.value, self.expires = None, 0

    def __call__(self, request):
        if time.monotonic() > self.expires - 300:
            self.fetch()
        request.headers["authorization"] = f"Bearer {self.value}"
        return request

    def fetch(self):
        form = {
            "grant_type": "client_credentials",
            "client_id": os.environ["CLIENT_ID"],
            "client_secret": os.environ["CLIENT_SECRET"],
            "scope": os.environ.get("SCOPE", "api://openai-gateway/.default"),
        }
        answer = requests.post(os.environ.get("TOKEN_URL", f"{TENANT}/oauth2/v2.0/token"), data=form, timeout=10)
        answer.raise_for_status()
        answer = answer.json()
        self.value, self.expires = answer["access_token"], time.monotonic() + answer["expires_in"]

    def forget(self):
        self.expires = 0

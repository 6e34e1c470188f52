"""The outside world on loopback: the issuer's key set and the managed identity's endpoint."""

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ISSUER = "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0"
AUDIENCE = "api://openai-gateway"
SCOPE = "openai.chat"
IDENTITY = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9." + "m" * 1100 + "." + "s" * 342
"""The gateway's own token: nobody here verifies it, so only its length is like Entra's."""


class World:
    """Answers on 127.0.0.1: `/keys…` with the key set, all else as IMDS. Counts what it is asked."""

    def __init__(self, jwks: dict, delay: float = 0, refresh_in: int = 43_200) -> None:
        self.jwks = jwks
        self.delay = delay
        self.refresh_in = refresh_in
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        world = self

        class Handler(BaseHTTPRequestHandler):
            """One connection."""

            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                body = json.dumps(world.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> dict:
        """Returns the body for a path, after the delay that was asked for."""
        kind = "jwks" if path.startswith("/keys") else "imds"
        with self._lock:
            self.calls[kind] += 1
        time.sleep(self.delay)
        if kind == "jwks":
            return self.jwks
        return {
            "access_token": IDENTITY,
            "expires_on": str(int(time.time()) + 86_400),
            "refresh_in": str(self.refresh_in),
            "resource": "https://cognitiveservices.azure.com",
            "token_type": "Bearer",
        }

    def close(self) -> None:
        """Stops answering."""
        self._server.shutdown()
        self._server.server_close()

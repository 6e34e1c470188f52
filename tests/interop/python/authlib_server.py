"""Runs an OAuth 2.0 server made of Authlib and Flask with new keys, as its order says, and prints
how to get a token from it. It ends when nobody holds its standard input any more."""

import json
import logging
import sys
import threading

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask, request
from joserfc.jwk import ECKey, KeySet, RSAKey
from werkzeug.serving import make_server

ORDER = json.loads(sys.argv[1])
KINDS = {
    "RS256": lambda parameters: RSAKey.generate_key(2048, parameters),
    "ES256": lambda parameters: ECKey.generate_key("P-256", parameters),
}
KEYS = {alg: KINDS[alg]({"alg": alg, "use": "sig"}) for alg in ORDER["algorithms"]}


class Client(ClientMixin):
    """The one client; it asks for a token of an algorithm with the parameter `alg`."""

    def get_client_id(self):
        return ORDER["client"]["client_id"]

    def check_client_secret(self, secret):
        return secret == ORDER["client"]["client_secret"]

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type):
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope):
        return scope


class Tokens(JWTBearerTokenGenerator):
    """Makes access tokens as RFC 9068 wants them, signed with one key."""

    def get_jwks(self):
        return KEYS[self.alg]

    def get_audiences(self, client, user, scope):
        return [ORDER["audience"], client.get_client_id()]


logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = Flask(__name__)
server = AuthorizationServer(app, query_client=lambda _: Client(), save_token=lambda *_: None)
server.register_grant(ClientCredentialsGrant)
listening = make_server("127.0.0.1", ORDER["port"], app, threaded=True)
ISSUER = f"http://127.0.0.1:{listening.server_port}/tenant"


def generate(**arguments):
    return Tokens(ISSUER, request.form["alg"])(**arguments)


server.register_token_generator("default", generate)


@app.get("/tenant/.well-known/openid-configuration")
def metadata():
    return {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", "token_endpoint": f"{ISSUER}/token"}


@app.get("/tenant/keys")
def keys():
    return KeySet(list(KEYS.values())).as_dict(private=False)


@app.post("/tenant/token")
def token():
    return server.create_token_response()


orders = {alg: {"alg": alg} for alg in ORDER["algorithms"]}
print(json.dumps({"issuer": ISSUER, "door": ISSUER, "orders": orders}), flush=True)
threading.Thread(target=listening.serve_forever, daemon=True).start()
sys.stdin.read()

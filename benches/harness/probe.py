"""Whether a contender does the job that it is measured at, seen from outside, before it counts."""

import http.client

from .chains import PATH
from .envoy import PROBE, SEEN, Envoy, expected_authorization
from .tokens import Mint


CONNECTIONS = 96
"""Enough for each of eight workers to get one, as the kernel spreads them by chance."""


def ask(port: int, token: str | None) -> tuple[int, str | None]:
    """Returns the status, and the `Authorization` that a backend would have seen."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"host": PROBE} | ({"authorization": f"Bearer {token}"} if token else {})
    connection.request("GET", PATH, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    seen = answer.getheader(SEEN)
    return answer.status, None if seen in (None, "", "-") else seen


def reach_all_workers(envoy: Envoy, token: str) -> None:
    """Sends requests on so many connections that each worker gets some."""
    for _ in range(CONNECTIONS):
        status, _ = ask(envoy.port, token)
        assert status == 200, f"a request of {CONNECTIONS} was answered with {status}"


def forged(token: str) -> str:
    """Returns the token with another signature."""
    at = token.rindex(".") + 20
    return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]


def check(envoy: Envoy, mint: Mint, alg: str) -> None:
    """Raises an error unless good tokens pass and all others are refused, as the chain claims."""
    chain, good = envoy.chain, mint.first(alg)
    status, seen = ask(envoy.port, good)
    swapped = expected_authorization() if chain.swaps else None
    wanted = swapped if chain.verifies else f"Bearer {good}"
    assert (status, seen) == (200, wanted), f"a good {alg} token: {status}, backend saw {seen}"
    if not chain.verifies:
        return
    for token, what in ((None, "no token"), (forged(good), f"a forged {alg} token")):
        status, _ = ask(envoy.port, token)
        assert status in (401, 403), f"{what}: {status}"
    status, _ = ask(envoy.port, mint.first("unscoped"))
    assert status == (403 if chain.scopes else 200), f"a token without the scope: {status}"

"""What is measured for each request: a contender with certain tokens."""

from dataclasses import dataclass

from .tokens import COUNTS, Tokens

NEW, WARM = "every token is new", "100 tokens, all remembered"
NATIVE = "**keyless as a dynamic module**"


@dataclass(frozen=True)
class Case:
    """A contender with certain tokens, and its place in the report."""

    name: str
    chain: str
    tokens: Tokens
    group: str
    title: str


def case(name: str, chain: str, group: str, title: str, alg: str = "RS256", count: int = 0) -> Case:
    """Returns a case; without a count, each token is new."""
    tokens = Tokens(alg, count) if count else Tokens(alg, COUNTS[alg], each_is_new=True)
    return Case(name, chain, tokens, group, title)


NONE = case("none", "none", "the floor", "no filter", count=100)

CASES = [
    NONE,
    case("noop", "noop", "the floor", "a wasm filter that does nothing", count=100),
    case("floor", "floor", "the floor", "keyless's calls for a remembered token alone", count=100),
    case("jwt", "jwt", f"RS256, {NEW}", "`jwt_authn`"),
    case("native", "native", f"RS256, {NEW}", "`jwt_authn`, RBAC, `credential_injector`"),
    case("authz-http", "authz-http", f"RS256, {NEW}", "`ext_authz`, HTTP service"),
    case("authz-grpc", "authz-grpc", f"RS256, {NEW}", "`ext_authz`, gRPC service"),
    case("keyless-cold", "keyless", f"RS256, {NEW}", "**keyless**"),
    case("keyless-native-cold", "keyless-native", f"RS256, {NEW}", NATIVE),
    case("jwt-cache", "jwt+cache", f"RS256, {WARM}", "`jwt_authn` with its cache", count=100),
    case(
        "native-cache",
        "native+cache",
        f"RS256, {WARM}",
        "`jwt_authn` with its cache, RBAC, `credential_injector`",
        count=100,
    ),
    case(
        "authz-http-cache",
        "authz-http+cache",
        f"RS256, {WARM}",
        "`ext_authz`, HTTP service with a cache",
        count=100,
    ),
    case(
        "authz-grpc-cache",
        "authz-grpc+cache",
        f"RS256, {WARM}",
        "`ext_authz`, gRPC service with a cache",
        count=100,
    ),
    case("keyless-warm", "keyless", f"RS256, {WARM}", "**keyless**", count=100),
    case("keyless-limits", "keyless+limits", f"RS256, {WARM}", "**keyless** with three limits", count=100),
    case("keyless-native-warm", "keyless-native", f"RS256, {WARM}", NATIVE, count=100),
    case(
        "keyless-unguarded",
        "keyless-unguarded",
        f"RS256, {WARM}",
        "keyless without its RBAC guard (not to be used so)",
        count=100,
    ),
    case(
        "jwt-cache-2000",
        "jwt+cache",
        "RS256, 2,000 tokens in rotation",
        "`jwt_authn` with its cache as shipped (100)",
        count=2000,
    ),
    case(
        "jwt-cache4096-2000",
        "jwt+cache4096",
        "RS256, 2,000 tokens in rotation",
        "`jwt_authn` with a cache of 4,096",
        count=2000,
    ),
    case("keyless-2000", "keyless", "RS256, 2,000 tokens in rotation", "**keyless**", count=2000),
    case("keyless-native-2000", "keyless-native", "RS256, 2,000 tokens in rotation", NATIVE, count=2000),
    case(
        "jwt-cache-100k",
        "jwt+cache",
        "RS256, 100,000 tokens in rotation",
        "`jwt_authn` with its cache as shipped (100)",
        count=100_000,
    ),
    case(
        "jwt-cache4096-100k",
        "jwt+cache4096",
        "RS256, 100,000 tokens in rotation",
        "`jwt_authn` with a cache of 4,096",
        count=100_000,
    ),
    case(
        "keyless-100k",
        "keyless",
        "RS256, 100,000 tokens in rotation",
        "**keyless**",
        count=100_000,
    ),
    case(
        "keyless-native-100k",
        "keyless-native",
        "RS256, 100,000 tokens in rotation",
        NATIVE,
        count=100_000,
    ),
    case("jwt-es256", "jwt", f"ES256, {NEW}", "`jwt_authn`", "ES256"),
    case("authz-grpc-es256", "authz-grpc", f"ES256, {NEW}", "`ext_authz`, gRPC service", "ES256"),
    case("keyless-cold-es256", "keyless", f"ES256, {NEW}", "**keyless**", "ES256"),
    case("keyless-native-cold-es256", "keyless-native", f"ES256, {NEW}", NATIVE, "ES256"),
    case(
        "jwt-cache-es256",
        "jwt+cache",
        f"ES256, {WARM}",
        "`jwt_authn` with its cache",
        "ES256",
        100,
    ),
    case("keyless-warm-es256", "keyless", f"ES256, {WARM}", "**keyless**", "ES256", 100),
    case("keyless-native-warm-es256", "keyless-native", f"ES256, {WARM}", NATIVE, "ES256", 100),
    # Without a cache jwt_authn does not care whether a token is new, and so may see them twice.
    case("jwt-ps256", "jwt", f"PS256, {NEW}", "`jwt_authn`", "PS256", 20_000),
    case("keyless-cold-ps256", "keyless", f"PS256, {NEW}", "**keyless**", "PS256"),
    case("keyless-native-cold-ps256", "keyless-native", f"PS256, {NEW}", NATIVE, "PS256"),
    case("jwt-eddsa", "jwt", f"EdDSA, {NEW}", "`jwt_authn`", "EdDSA", 20_000),
    case("keyless-cold-eddsa", "keyless", f"EdDSA, {NEW}", "**keyless**", "EdDSA"),
    case("keyless-native-cold-eddsa", "keyless-native", f"EdDSA, {NEW}", NATIVE, "EdDSA"),
]

COUNTING = [
    case("keyless-read", "keyless+read", f"RS256, {WARM}", '**keyless**, `"usage": "read"`', count=100),
    case("keyless-ask", "keyless+ask", f"RS256, {WARM}", '**keyless**, `"usage": "ask"`', count=100),
]
"""Those of a route that counts what its answers used; they need a backend that says it."""

LIMITING = [
    case("keyless-limits", "keyless+limits", f"RS256, {WARM}", "**keyless** with three limits", count=100),
    case(
        "keyless-ratelimit",
        "keyless+ratelimit",
        f"RS256, {WARM}",
        "**keyless**, and three limits by Envoy's filter, envoyproxy/ratelimit and Redis",
        count=100,
    ),
]
"""Three limits, counted by keyless itself, and asked for by Envoy's filter, which does nothing without a backend."""

"""The contenders: what stands in Envoy's filter chain. Everything else is the same for all.

Each chain that is compared with keyless does as much of keyless's job as it can, in the way that
costs it least: keys inline, no clock to watch, one rule, no log.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .world import AUDIENCE, IDENTITY, ISSUER, SCOPE

TYPE = "type.googleapis.com/"
HTTP = TYPE + "envoy.extensions.filters.http."
PATH = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
ALGORITHMS = ["RS256", "ES256", "PS256", "EdDSA"]

Json = dict[str, object]


@dataclass(frozen=True)
class Files:
    """What was built and minted."""

    floor: Path
    dynamic: Path
    keyless: Path
    noop: Path
    toll: Path
    authz: Path
    ratelimit: Path | None
    drip: Path
    evict: Path
    jwks: Path
    identity: Path


@dataclass(frozen=True)
class Service:
    """An ext_authz service beside Envoy."""

    protocol: str
    remember: int
    cluster = "authz"

    @property
    def is_grpc(self) -> bool:
        """Tells how Envoy speaks with it."""
        return self.protocol == "grpc"


@dataclass(frozen=True)
class RateLimit:
    """envoyproxy/ratelimit and Redis beside Envoy."""

    cluster = "ratelimit"
    is_grpc = True


@dataclass(frozen=True)
class Chain:
    """What a contender puts before the router, and how one sees that it did its job."""

    filters: Callable[[Files], list[Json]]
    witnesses: tuple[str, ...] = ()
    """Counters of Envoy, as regular expressions, each of which every admitted request moves."""
    verifies: bool = True
    scopes: bool = True
    swaps: bool = True
    service: Service | RateLimit | None = None
    secrets: list[Json] = field(default_factory=list)


def named(name: str, settings: Json) -> Json:
    """Returns an HTTP filter with its settings; `name` is like `rbac.v3.RBAC`."""
    return {
        "name": "envoy.filters.http." + name.split(".")[0],
        "typed_config": {"@type": HTTP + name, **settings},
    }


def wasm(module: Path, configuration: str) -> Json:
    """Returns a wasm filter, with the settings of the shipped `envoy.yaml`."""
    name = module.stem
    value = {"@type": TYPE + "google.protobuf.StringValue", "value": configuration}
    code = {"local": {"filename": str(module)}}
    machine = {"vm_id": name, "runtime": "envoy.wasm.runtime.v8", "code": code}
    plugin = {"name": name, "root_id": name, "failure_policy": "FAIL_RELOAD", "vm_config": machine}
    return named("wasm.v3.Wasm", {"config": {**plugin, "configuration": value}})


def configuration(**changes: object) -> Json:
    """Returns keyless's configuration: one issuer, one route, one scope, one identity."""
    issuer = {
        "name": "entra",
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "algorithms": ALGORITHMS,
        "jwks": {"cluster": "world", "uri": "https://login.microsoftonline.com/keys"},
    }
    imds = {"cluster": "world"}
    identity = {"resource": "https://cognitiveservices.azure.com", "imds": imds}
    path = "/openai/deployments/{deployment}/chat/completions"
    route = {
        "name": "chat",
        "match": {"methods": ["GET", "POST"], "path": path},
        "allow": [{"scopes": [SCOPE]}],
        "identity": "openai",
    }
    whole: Json = {"issuers": [issuer], "identities": {"openai": identity}, "routes": [route]}
    return {**whole, **changes}


def guard() -> Json:
    """Returns the RBAC filter that must stand behind keyless: it wants keyless's verdict."""
    verdict = {"key": "wasm.keyless.verdict", "string_match": {"exact": "admitted"}}
    policy = {"permissions": [{"any": True}], "principals": [{"filter_state": verdict}]}
    return named("rbac.v3.RBAC", {"rules": {"action": "ALLOW", "policies": {"admitted": policy}}})


def keyless(files: Files, **changes: object) -> list[Json]:
    """Returns keyless as docs/install-envoy.md says to attach it, the guard included."""
    return [wasm(files.keyless, json.dumps(configuration(**changes))), guard()]


def counting(files: Files, usage: str) -> list[Json]:
    """Returns keyless with a route whose answers are read, or asked for what they used as well."""
    [route] = configuration()["routes"]
    return keyless(files, routes=[{**route, "usage": usage}])


def limiting(files: Files) -> list[Json]:
    """Returns keyless with three limits that nobody reaches, of each caller by the minute, the hour and the day."""
    windows = ("1m", "1h", "1d")
    each = {"per": ["issuer", "subject"], "requests": 1_000_000_000}
    return keyless(files, limits=[{"name": f"caller-{window}", "window": window, **each} for window in windows])


def asking(files: Files) -> list[Json]:
    """Returns keyless and the same limits by Envoy's own filter, as docs/guides/limits-by-envoys-filter.md has it."""
    expression = TYPE + "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"

    def value(name: str) -> Json:
        text = f"filter_state['wasm.keyless.{name}']"
        config = {"@type": expression, "descriptor_key": name, "text": text}
        return {"extension": {"name": "envoy.rate_limit_descriptors.expr", "typed_config": config}}

    def limit(unit: str) -> Json:
        window = {"generic_key": {"descriptor_key": "window", "descriptor_value": unit}}
        return {"actions": [window, value("issuer"), value("subject")]}

    service = {"transport_api_version": "V3", "grpc_service": {"envoy_grpc": {"cluster_name": RateLimit.cluster}}}
    settings: Json = {"domain": "bench", "timeout": "1s", "rate_limit_service": service}
    settings["rate_limits"] = [limit(unit) for unit in UNITS]
    return [*keyless(files), named("ratelimit.v3.RateLimit", settings)]


def keyless_native(files: Files) -> list[Json]:
    """Returns keyless as docs/dynamic-module.md says to attach it, the guard included."""
    value = {"@type": TYPE + "google.protobuf.StringValue", "value": json.dumps(configuration())}
    module = {"name": files.dynamic.stem.removeprefix("lib"), "do_not_close": True}
    settings: Json = {"dynamic_module_config": module, "filter_name": "keyless", "filter_config": value}
    return [named("dynamic_modules.v3.DynamicModuleFilter", settings), guard()]


def jwt_authn(files: Files, cache: int = 0, **more: object) -> Json:
    """Returns Envoy's own filter with inline keys; it removes the caller's token."""
    provider: Json = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": files.jwks.read_text()},
        "forward": False,
        **more,
    }
    if cache:
        provider["jwt_cache_config"] = {"jwt_cache_size": cache}
    rule = {"match": {"prefix": "/"}, "requires": {"provider_name": "entra"}}
    settings: Json = {"providers": {"entra": provider}, "rules": [rule]}
    return named("jwt_authn.v3.JwtAuthentication", settings)


def native(files: Files, cache: int = 0) -> list[Json]:
    """Returns the nearest that Envoy's own filters come: the scope by RBAC, the swap by a secret.

    RBAC reads the scopes from a header that `jwt_authn` sets from the claim. By way of dynamic
    metadata, the other way there is, the same check cost 10 to 15 µs more.
    """
    scopes = {"header_name": "x-scopes", "claim_name": "scp"}
    escaped = SCOPE.replace(".", r"\.")
    listed = {"safe_regex": {"regex": f"(.* )?{escaped}( .*)?"}}
    policy = {
        "permissions": [{"any": True}],
        "principals": [{"header": {"name": "x-scopes", "string_match": listed}}],
    }
    rbac = named("rbac.v3.RBAC", {"rules": {"action": "ALLOW", "policies": {"scope": policy}}})
    generic = {
        "@type": TYPE + "envoy.extensions.http.injected_credentials.generic.v3.Generic",
        "credential": {"name": "identity"},
        "header": "authorization",
    }
    credential = {"name": "envoy.http.injected_credentials.generic", "typed_config": generic}
    injector = named(
        "credential_injector.v3.CredentialInjector", {"overwrite": True, "credential": credential}
    )
    return [jwt_authn(files, cache, claim_to_headers=[scopes]), rbac, injector]


def ext_authz(service: Service) -> list[Json]:
    """Returns the filter that asks the service; the cluster `authz` leads there."""
    if service.protocol == "grpc":
        target: Json = {"grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": "1s"}}
    else:
        replaced = {"allowed_upstream_headers": {"patterns": [{"exact": "authorization"}]}}
        uri = {"uri": "http://authz", "cluster": "authz", "timeout": "1s"}
        target = {"http_service": {"server_uri": uri, "authorization_response": replaced}}
    sent = {"patterns": [{"exact": "authorization"}]}
    settings = {**target, "transport_api_version": "V3", "allowed_headers": sent}
    return [named("ext_authz.v3.ExtAuthz", settings)]


UNITS = ("minute", "hour", "day")
"""The windows of three limits, as envoyproxy/ratelimit names them."""
NAMED = 7
"""How many values keyless writes to filter state for a request."""

SECRET: Json = {
    "name": "identity",
    "generic_secret": {"secret": {"inline_string": f"Bearer {IDENTITY}"}},
}
ALLOWED = r"http\.bench\.jwt_authn\.allowed"
NATIVE = (ALLOWED, r"http\.bench\.rbac\.allowed", r"http\.bench\.credential_injector\.injected")
ADMITTED = (r".*keyless_requests.*admitted.*", r"http\.bench\.rbac\.allowed")
ASKED = (*ADMITTED, r".*\bratelimit\.ok")
LIMITED = (*ADMITTED, r".*keyless_limit_checks.*within.*")
COUNTED = (*ADMITTED, r".*keyless_answers.*exact.*")


def authz(protocol: str, remember: int = 0) -> Chain:
    """Returns ext_authz with a service that remembers so many tokens."""
    service = Service(protocol, remember)
    return Chain(lambda _: ext_authz(service), (r".*\bext_authz\.ok",), service=service)


CHAINS: dict[str, Chain] = {
    "none": Chain(lambda _: [], verifies=False, scopes=False, swaps=False),
    "noop": Chain(lambda f: [wasm(f.noop, "")], verifies=False, scopes=False, swaps=False),
    "floor": Chain(lambda f: [wasm(f.floor, str(NAMED))], verifies=False, scopes=False, swaps=False),
    "jwt": Chain(lambda f: [jwt_authn(f)], (ALLOWED,), scopes=False, swaps=False),
    "jwt+cache": Chain(lambda f: [jwt_authn(f, 100)], (ALLOWED,), scopes=False, swaps=False),
    "jwt+cache4096": Chain(lambda f: [jwt_authn(f, 4096)], (ALLOWED,), scopes=False, swaps=False),
    "native": Chain(native, NATIVE, secrets=[SECRET]),
    "native+cache": Chain(lambda f: native(f, 100), NATIVE, secrets=[SECRET]),
    "authz-http": authz("http"),
    "authz-grpc": authz("grpc"),
    "authz-http+cache": authz("http", 4096),
    "authz-grpc+cache": authz("grpc", 4096),
    "keyless": Chain(keyless, ADMITTED),
    "keyless+read": Chain(lambda f: counting(f, "read"), COUNTED),
    "keyless+ask": Chain(lambda f: counting(f, "ask"), COUNTED),
    "keyless+limits": Chain(limiting, LIMITED),
    "keyless+ratelimit": Chain(asking, ASKED, service=RateLimit()),
    "keyless-native": Chain(keyless_native, ADMITTED),
    "keyless-unguarded": Chain(lambda f: keyless(f)[:1], ADMITTED[:1]),
}

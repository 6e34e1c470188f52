//! What is probably a mistake in the policy itself.

use keyless_core::config::Config;
use keyless_core::identity::IdentityIndex;
use keyless_core::jwks::{JwksLocation, JwksSource};
use keyless_core::jwt::Issuer;
use keyless_core::policy::{Access, Grant, PathPattern, Route};

use super::{Kind, Warning, shadowing};

/// The one resource of Azure OpenAI in each cloud, and the hosts of Entra there.
const CLOUDS: [(&str, &str); 3] = [
    (".azure.com", "login.microsoftonline.com"),
    (".azure.us", "login.microsoftonline.us"),
    (".azure.cn", "login.partner.microsoftonline.cn"),
];

/// What the hosts of Azure OpenAI's and Foundry's endpoints have before the domain of their cloud.
const ENDPOINTS: [&str; 3] = [".openai", ".cognitiveservices", ".services.ai"];

/// How the paths of Azure OpenAI and Foundry begin.
const AZURE_PATHS: [&str; 3] = ["/openai/", "/anthropic/", "/models/"];

/// How the addresses of documents end that name a key set, and are none.
const DISCOVERY: [&str; 2] = ["/openid-configuration", "/oauth-authorization-server"];

/// Claims that people forward.
const CLAIMS: [&str; 14] = [
    "appid",
    "azp",
    "client_id",
    "email",
    "groups",
    "iss",
    "name",
    "oid",
    "preferred_username",
    "roles",
    "scp",
    "sub",
    "tid",
    "upn",
];

/// Returns what is probably a mistake, whatever stands around the configuration.
pub(super) fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = unreachable(config);
    warnings.extend(unconditional(config));
    warnings.extend(unused(config));
    // An entry of several tenants is several issuers here.
    let issuers = config.issuers.chunk_by(|one, other| one.entry == other.entry);
    warnings.extend(issuers.filter_map(<[_]>::first).flat_map(of_issuer));
    warnings.extend(resources(config));
    warnings.extend(paths(config));
    warnings.extend(without_identity(config));
    warnings.extend(inverted(config));
    warnings
}

/// Routes that no request reaches, because earlier ones match all of theirs.
fn unreachable(config: &Config) -> Vec<Warning> {
    let routes = config.routes.iter().enumerate();
    let warning = |(at, route)| {
        let earlier = shadowing::shadowing(config.routes.get(..at)?, route)?;
        let names: Vec<_> = earlier
            .into_iter()
            .map(|at| format!("routes[{at}] {}", config.routes[at].name))
            .collect();
        let (name, names) = (&config.routes[at].name, names.join(", "));
        let found = format!("{name} is unreachable: shadowed by {names}");
        Some(Warning::new(Kind::RouteUnreachable, format!("routes[{at}]"), found))
    };
    routes.filter_map(warning).collect()
}

/// Grants without a condition.
fn unconditional(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (at, route) in config.routes.iter().enumerate() {
        let Access::Granted { grants, .. } = &route.access else { continue };
        let free = grants.iter().enumerate().filter(|(_, grant)| is_unconditional(grant));
        warnings.extend(free.map(|(grant, _)| {
            let place = format!("routes[{at}].allow[{grant}]");
            let found = "has no condition and allows every valid token of any issuer";
            Warning::new(Kind::GrantWithoutCondition, place, found)
        }));
    }
    warnings
}

fn is_unconditional(grant: &Grant) -> bool {
    let Grant { issuer, clients, scopes, roles, claims, deployments } = grant;
    issuer.is_none()
        && [clients, scopes, roles, deployments].into_iter().all(Vec::is_empty)
        && claims.is_empty()
}

/// Identities that no route uses.
fn unused(config: &Config) -> Vec<Warning> {
    let is_used = |identity: usize| {
        config.routes.iter().any(|route| match &route.access {
            Access::Granted { identity: used, .. } => *used == Some(IdentityIndex(identity)),
            Access::Health | Access::Public => false,
        })
    };
    let identities = config.identities.iter().enumerate();
    let unused = identities.filter(|(at, _)| !is_used(*at));
    let place = |name: &str| format!("identities.{name}");
    unused
        .map(|(_, one)| {
            Warning::new(Kind::IdentityUnused, place(&one.name), "unused: no route names it")
        })
        .collect()
}

fn of_issuer(issuer: &Issuer) -> Vec<Warning> {
    let place = |key: &str| format!("issuers[{}].{key}", issuer.entry.0);
    let mut warnings = Vec::new();
    if issuer.audiences.iter().any(|audience| audience == "*") {
        warnings.push(Warning::new(Kind::AudienceWildcard, place("audiences"), "found \"*\""));
    }
    let is_id = |audience: &String| is_guid(audience);
    let is_uri = |audience: &String| audience.starts_with("api://");
    let audiences = &issuer.audiences;
    if issuer.tenant.is_some() && audiences.iter().any(is_id) != audiences.iter().any(is_uri) {
        let found = if audiences.iter().any(is_id) { "an application id" } else { "an api:// URI" };
        let found = format!("found only {found}");
        warnings.push(Warning::new(Kind::AudienceOfOneVersion, place("audiences"), found));
    }
    if let JwksSource::Remote(remote) = &issuer.jwks
        && let JwksLocation::Known(uri) = &remote.location
        && DISCOVERY
            .iter()
            .any(|end| uri.path.split('?').next().is_some_and(|path| path.ends_with(end)))
    {
        let found = format!("found {}", uri.path);
        warnings.push(Warning::new(Kind::JwksUriIsDiscovery, place("jwks.uri"), found));
    }
    warnings
}

fn is_guid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Resources that no token is given for.
fn resources(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for one in &config.identities {
        let place = format!("identities.{}.resource", one.name);
        let resource = one.resource.trim_end_matches('/');
        let host = resource.trim_start_matches("https://");
        let found = format!("found {:?}", one.resource);
        if resource.ends_with("/.default") {
            warnings.push(Warning::new(Kind::ResourceIsScope, place, found));
        } else if is_endpoint(host) {
            warnings.push(Warning::new(Kind::ResourceIsEndpoint, place, found));
        } else if let Some(entra) = foreign_cloud(config, host) {
            let found = format!("{found} beside issuers of {entra}");
            warnings.push(Warning::new(Kind::CloudMismatch, place, found));
        }
    }
    warnings
}

/// Returns true for what follows `https://` in the address of one endpoint.
fn is_endpoint(address: &str) -> bool {
    let host = address.split('/').next().unwrap_or_default();
    CLOUDS.iter().any(|(domain, _)| {
        let name = host.strip_suffix(domain).unwrap_or_default();
        ENDPOINTS.iter().any(|end| name.ends_with(end))
    })
}

/// The host of Entra that issuers name, if all are of another cloud than this resource.
fn foreign_cloud(config: &Config, resource: &str) -> Option<&'static str> {
    let (_, own) = CLOUDS.iter().find(|(end, _)| resource.ends_with(end))?;
    let of_tenant = config.issuers.iter().filter(|issuer| issuer.tenant.is_some());
    let hosts: Vec<_> = of_tenant
        .filter_map(|issuer| {
            let is_of = |host: &str| issuer.accepted.iter().any(|iss| iss.contains(host));
            CLOUDS.iter().map(|(_, host)| *host).find(|host| is_of(host))
        })
        .collect();
    hosts.first().copied().filter(|_| hosts.iter().all(|host| host != own))
}

/// Patterns with characters that mean something elsewhere.
fn paths(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (at, route) in config.routes.iter().enumerate() {
        let paths = route.paths.iter().map(PathPattern::as_str);
        warnings.extend(paths.filter(|path| has_foreign_characters(path)).map(|path| {
            let place = format!("routes[{at}].match.path");
            Warning::new(Kind::PatternLiteral, place, format!("found {path:?}"))
        }));
    }
    warnings
}

/// Returns true for the wildcards, parameters and queries of other routers.
fn has_foreign_characters(path: &str) -> bool {
    path.split('/').any(|segment| {
        let (before, rest) = segment.split_once('{').unwrap_or((segment, ""));
        let after = rest.split_once('}').map_or("", |(_, after)| after);
        [before, after].iter().any(|text| text.contains(['*', '?', '#', '$', '^', '<']))
            || before.starts_with(':')
    })
}

/// Routes to Azure without an identity, where more routes have one.
fn without_identity(config: &Config) -> Vec<Warning> {
    let of = |with: bool| {
        config.routes.iter().enumerate().filter(move |(_, route)| match &route.access {
            Access::Granted { identity, .. } => identity.is_some() == with,
            Access::Health | Access::Public => false,
        })
    };
    if of(true).count() <= of(false).count() {
        return Vec::new();
    }
    let is_azures = |route: &Route| {
        let paths = route.paths.iter().map(PathPattern::as_str);
        paths.into_iter().any(|path| AZURE_PATHS.iter().any(|begin| path.starts_with(begin)))
    };
    of(false)
        .filter(|(_, route)| is_azures(route))
        .map(|(at, route)| {
            let found = format!("{} has none", route.name);
            Warning::new(Kind::RouteWithoutIdentity, format!("routes[{at}].identity"), found)
        })
        .collect()
}

/// Headers that are called like claims, and have claims that are called like headers.
fn inverted(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (at, route) in config.routes.iter().enumerate() {
        let Access::Granted { forward_claims, .. } = &route.access else { continue };
        for (header, claim) in forward_claims {
            let (header, claim) = (header.as_str(), claim.to_string());
            let claim = claim.trim_start_matches('/');
            if CLAIMS.contains(&header) && !CLAIMS.contains(&claim) {
                let place = format!("routes[{at}].forward_claims.{header}");
                let found = format!("found the header {header} for the claim {claim}");
                warnings.push(Warning::new(Kind::ForwardClaimsInverted, place, found));
            }
        }
    }
    warnings
}

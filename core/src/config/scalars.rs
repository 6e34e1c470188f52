//! What a single value of the configuration may look like: one table for the parser and the schema.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected};
use serde_json::{Number, Value};

use super::entry::{NonEmpty, OneOrMore};
use crate::bearer::CredentialPlace;
use crate::credentials::{is_credential_header, normalized};
use crate::http::{HeaderName, Uri};
use crate::jwt::{ClaimName, TokenType};
use crate::ledger::Window;
use crate::limit::{Per, TokenCount};
use crate::policy::{DeploymentPlace, HostPattern, PathPattern};
use crate::price::{Cost, TokenPrice};
use crate::settle::Unavailable;
use crate::signature::Algorithm;
use crate::usage;

/// A kind of text: what is expected of it, and what it becomes.
pub(super) trait Scalar {
    type Value;
    /// What is expected, for messages and the schema.
    const EXPECTED: &'static str;
    /// For the schema; it accepts all that `parse` does, and may accept more.
    #[cfg(feature = "schema")]
    const SHAPE: Shape;
    fn parse(text: &str) -> Option<Self::Value>;
}

/// What the schema says of a text.
#[cfg(feature = "schema")]
pub(super) enum Shape {
    OneOf(&'static [&'static str]),
    Pattern(&'static str),
    /// The pattern, but not this one text.
    PatternExcept(&'static str, &'static str),
}

/// A JSON string that was read as one kind of [`Scalar`].
pub(super) struct Text<S: Scalar>(pub(super) S::Value);

impl<'de, S: Scalar> Deserialize<'de> for Text<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_of::<S, _>(&String::deserialize(deserializer)?).map(Self)
    }
}

fn text_of<S: Scalar, E: Error>(text: &str) -> Result<S::Value, E> {
    S::parse(text).ok_or_else(|| E::invalid_value(shown(text), &S::EXPECTED))
}

/// A text in a message. User information may be a password, and messages are logged.
#[inline(never)]
fn shown(text: &str) -> Unexpected<'_> {
    let has_user = text.contains("://") && text.contains('@');
    if has_user { Unexpected::Other("user information") } else { Unexpected::Str(text) }
}

impl<S: Scalar> NonEmpty<Text<S>> {
    pub(super) fn into_values(self) -> Vec<S::Value> {
        self.0.into_iter().map(|text| text.0).collect()
    }
}

impl<S: Scalar> OneOrMore<Text<S>> {
    pub(super) fn into_values(self) -> Vec<S::Value> {
        self.0.into_iter().map(|text| text.0).collect()
    }
}

/// A whole number from 1 to 2³² − 1, which counts on every machine. Istio's numbers are doubles, so
/// `4096` may arrive as `4.096e3`.
pub(super) struct Count(pub(super) usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        whole(&Number::deserialize(deserializer)?).map(Self)
    }
}

fn whole<E: Error>(number: &Number) -> Result<usize, E> {
    let from_float = || {
        // `{:.0}` is exact for the integral floats that pass the test.
        let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
        format!("{float:.0}").parse().ok()
    };
    let whole: Option<u64> = number.as_u64().or_else(from_float);
    let count = whole.filter(|count| (1..1 << 32).contains(count));
    count.and_then(|count| count.try_into().ok()).ok_or_else(|| {
        let found = number.to_string();
        let expected = "a whole number from 1 to 4294967295";
        E::invalid_value(Unexpected::Other(&found), &expected)
    })
}

/// What counts for each request under way: a number of tokens, or money.
pub(super) enum Reserve {
    Cost(Cost),
    Tokens(usize),
}

impl<'de> Deserialize<'de> for Reserve {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = |found| {
            let expected = "a number of tokens, or a decimal text such as \"0.05\"";
            Err(D::Error::invalid_value(found, &expected))
        };
        match Value::deserialize(deserializer)? {
            Value::Number(number) => whole(&number).map(Self::Tokens),
            Value::String(text) => text_of::<Budget, _>(&text).map(Self::Cost),
            Value::Array(_) => wrong(Unexpected::Seq),
            Value::Bool(value) => wrong(Unexpected::Bool(value)),
            Value::Null => wrong(Unexpected::Unit),
            Value::Object(_) => wrong(Unexpected::Map),
        }
    }
}

/// The name of an environment variable. A message never quotes what stands in its place: it may be
/// the secret that the variable should hold.
pub(super) struct Variable(pub(super) String);

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let starts = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if starts && text.len() <= 128 && text.bytes().all(allowed) {
            return Ok(Self(text));
        }
        let expected = "the name of an environment variable: up to 128 of A-Z a-z 0-9 _";
        Err(D::Error::invalid_value(Unexpected::Other("another text"), &expected))
    }
}

/// A resource identifier: an `https` URL, and its parts.
pub(super) struct Identifier {
    pub(super) text: String,
    pub(super) uri: Uri,
}

/// Names one of Microsoft's clouds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cloud {
    China,
    Public,
    UsGovernment,
}

/// The table of all kinds: name and type, what is expected, the schema's shape, the parser.
macro_rules! scalars {
    ($($name:ident -> $value:ty: $expected:expr, $shape:expr, $parse:expr;)*) => { $(
        pub(super) enum $name {}

        impl Scalar for $name {
            type Value = $value;
            const EXPECTED: &'static str = $expected;
            #[cfg(feature = "schema")]
            const SHAPE: Shape = $shape;

            fn parse(text: &str) -> Option<$value> {
                let parse: fn(&str) -> Option<$value> = $parse;
                parse(text)
            }
        }
    )* };
}

scalars! {
    AudienceClaim -> String:
        "the name of a claim such as \"client_id\", not a pointer and none that means something else",
        Shape::Pattern("^[^/\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$"),
        |text| {
            let is_allowed = !text.starts_with('/') && !NEVER_AN_AUDIENCE.contains(&text);
            plain(text).filter(|_| is_allowed)
        };
    AuthorityHost -> Uri:
        "a URI such as \"https://login.microsoftonline.com/\", without user information and query and not link-local",
        Shape::Pattern("^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+(/[^?]*)?$"),
        |text| Uri::parse(text).filter(|uri| !uri.path.contains('?'));
    Budget -> Cost:
        "a decimal number above 0 and up to 4294967, such as \"500.00\", with up to 6 digits after the point",
        Shape::Pattern("^[0-9]{1,7}(\\.[0-9]{1,6})?$"),
        |text| {
            let micro_units = TokenPrice::parse(text)?.pico_units();
            let is_allowed = (1..=4_294_967_000_000).contains(&micro_units);
            let cost = Cost::from_pico_units(u128::from(micro_units).saturating_mul(1_000_000));
            is_allowed.then_some(cost)
        };
    Claim -> ClaimName:
        "the name of a claim, or a JSON pointer such as \"/realm_access/roles\" (RFC 6901)",
        Shape::Pattern("^[^\\u0000-\\u001f\\u007f-\\u009f]+$"),
        ClaimName::parse;
    CloudName -> Cloud:
        "one of \"public\", \"us-government\", \"china\"",
        Shape::OneOf(&["china", "public", "us-government"]),
        |text| match text {
            "china" => Some(Cloud::China),
            "public" => Some(Cloud::Public),
            "us-government" => Some(Cloud::UsGovernment),
            _ => None,
        };
    Cookie -> String:
        "the name of a cookie (RFC 6265 §4.1.1)",
        Shape::Pattern("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
        token;
    Counting -> usage::Counting:
        "one of \"read\", \"ask\"",
        Shape::OneOf(&["ask", "read"]),
        |text| match text {
            "ask" => Some(usage::Counting::Ask),
            "read" => Some(usage::Counting::Read),
            _ => None,
        };
    CountingOn -> Unavailable:
        "one of \"count\", \"refuse\"",
        Shape::OneOf(&["count", "refuse"]),
        |text| match text {
            "count" => Some(Unavailable::Count),
            "refuse" => Some(Unavailable::Refuse),
            _ => None,
        };
    CountedTokens -> TokenCount:
        "one of \"total\", \"input\", \"output\"",
        Shape::OneOf(&["input", "output", "total"]),
        |text| match text {
            "input" => Some(TokenCount::Input),
            "output" => Some(TokenCount::Output),
            "total" => Some(TokenCount::Total),
            _ => None,
        };
    Host -> HostPattern:
        "a host such as \"api.example.com\" or \"*.example.com\", without a port",
        Shape::Pattern("^(\\*\\.)?[A-Za-z0-9_:\\[\\]-]+(\\.[A-Za-z0-9_:\\[\\]-]+)*$"),
        HostPattern::parse;
    KeySetUri -> Uri:
        "a URI such as \"https://idp.example.com/jwks.json\", without user information and not link-local",
        Shape::Pattern("^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+([/?#].*)?$"),
        Uri::parse;
    // It appears in logs and in names of metrics.
    Label -> String:
        "1 to 64 of A-Z a-z 0-9 . _ -",
        Shape::Pattern("^[A-Za-z0-9._-]{1,64}$"),
        |text| is_label(text).then(|| text.to_owned());
    Leeway -> Duration:
        "a duration up to 5m, such as \"60s\"",
        Shape::Pattern("^(0|[0-9][0-9A-Za-z .]*[A-Za-z] *)$"),
        |text| span(text).filter(|span| *span <= Duration::from_mins(5));
    LimitKey -> Per:
        "one of \"issuer\", \"client\", \"subject\", \"route\", \"deployment\"",
        Shape::OneOf(&["client", "deployment", "issuer", "route", "subject"]),
        |text| match text {
            "client" => Some(Per::Client),
            "deployment" => Some(Per::Deployment),
            "issuer" => Some(Per::Issuer),
            "route" => Some(Per::Route),
            "subject" => Some(Per::Subject),
            _ => None,
        };
    MetadataPath -> String:
        "a path of A-Z a-z 0-9 . _ ~ - and /",
        Shape::Pattern("^/[A-Za-z0-9._~/-]*$"),
        |text| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-/".contains(&byte);
            (text.starts_with('/') && text.bytes().all(allowed)).then(|| text.to_owned())
        };
    Method -> String:
        "a method in capitals, not CONNECT",
        Shape::PatternExcept("^[A-Z]+$", "CONNECT"),
        |text| {
            let capitals = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
            (capitals && text != "CONNECT").then(|| text.to_owned())
        };
    Money -> TokenPrice:
        "a decimal number such as \"2.50\", below 10000000 and with up to 6 digits after the point",
        Shape::Pattern("^[0-9]{1,7}(\\.[0-9]{1,6})?$"),
        TokenPrice::parse;
    Parameter -> String:
        "the name of a query parameter: A-Z a-z 0-9 . _ -",
        Shape::Pattern("^[A-Za-z0-9._-]+$"),
        |text| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            let name = normalized(text.bytes());
            (!name.is_empty() && text.bytes().all(allowed)).then_some(name)
        };
    PassedHeader -> HeaderName:
        "the name of a header other than authorization, proxy-authorization, cookie and those that frame a message",
        Shape::Pattern("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
        |text| removable(text).filter(|name| !NEVER_PASSED.contains(&name.as_str()));
    Path -> PathPattern:
        "a pattern such as \"/openai/deployments/{deployment}/{*rest}\"",
        Shape::Pattern("^/"),
        PathPattern::parse;
    Place -> DeploymentPlace:
        "one of \"path\", \"body.model\", \"query\"",
        Shape::OneOf(&["body.model", "path", "query"]),
        |text| match text {
            "body.model" => Some(DeploymentPlace::Body),
            "path" => Some(DeploymentPlace::Path),
            "query" => Some(DeploymentPlace::Query),
            _ => None,
        };
    Plain -> String:
        PLAIN,
        Shape::Pattern("^[^\\u0000-\\u001f\\u007f-\\u009f]+$"),
        plain;
    Resource -> Identifier:
        "an https URL such as \"https://gateway.example.com\", without user information, query and fragment",
        Shape::Pattern("^https://[^\\s/@?#\"\\\\]+(/[^\\s?#\"\\\\]*)?$"),
        |text| {
            let uri = Uri::parse_anywhere(text)?;
            let is_quotable = |byte: u8| byte.is_ascii_graphic() && !b"\"\\?#".contains(&byte);
            let is_allowed = text.starts_with("https://") && text.bytes().all(is_quotable);
            is_allowed.then(|| Identifier { text: text.to_owned(), uri })
        };
    RouterHeader -> HeaderName:
        HEADER,
        Shape::Pattern("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
        header;
    Scope -> String:
        "one scope, without spaces, quotes or backslashes (RFC 6749 §3.3)",
        Shape::Pattern("^[!#-\\[\\]-~]+$"),
        |text| {
            let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            (!text.is_empty() && text.bytes().all(allowed)).then(|| text.to_owned())
        };
    SignatureAlgorithm -> Algorithm:
        "one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, Ed25519",
        Shape::OneOf(&[
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
            "Ed25519",
        ]),
        Algorithm::named;
    ShortWait -> Duration:
        "a duration from 100ms to 1m, such as \"1s\"",
        Shape::Pattern("^(0|[0-9][0-9A-Za-z .]*[A-Za-z] *)$"),
        |text| {
            let allowed = Duration::from_millis(100)..=Duration::from_mins(1);
            span(text).filter(|span| allowed.contains(span))
        };
    StrippedHeader -> HeaderName:
        "the name of a header that does not frame a message",
        Shape::Pattern("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
        removable;
    TenantId -> String:
        "a tenant's id such as \"72f988bf-86f1-41af-91ab-2d7cd011db47\"; in place of \
         `common` or `organizations` list every tenant whose tokens you accept",
        Shape::Pattern("^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"),
        |text| is_guid(text).then(|| text.to_ascii_lowercase());
    TokenPlace -> CredentialPlace:
        "one of \"authorization\", \"api-key\", \"subprotocol\"",
        Shape::OneOf(&["api-key", "authorization", "subprotocol"]),
        |text| match text {
            "api-key" => Some(CredentialPlace::ApiKey),
            "authorization" => Some(CredentialPlace::Authorization),
            "subprotocol" => Some(CredentialPlace::Subprotocol),
            _ => None,
        };
    TokenUri -> Uri:
        "a URI such as \"https://idp.example.com/token\", without user information and not link-local",
        Shape::Pattern("^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+([/?#].*)?$"),
        Uri::parse;
    Type -> TokenType:
        "a token type such as \"at+jwt\"",
        Shape::Pattern("^[^\\u0000-\\u001f\\u007f-\\u009f]+$"),
        TokenType::parse;
    Wait -> Duration:
        "a duration from 1ms to 30d, such as \"60s\"",
        Shape::Pattern("^(0|[0-9][0-9A-Za-z .]*[A-Za-z] *)$"),
        |text| {
            let longest = Duration::from_hours(30 * 24);
            span(text).filter(|span| (Duration::from_millis(1)..=longest).contains(span))
        };
    WindowLength -> Window:
        "one of \"1m\", \"1h\", \"1d\", \"7d\", \"30d\", \"365d\"",
        Shape::OneOf(&["1d", "1h", "1m", "30d", "365d", "7d"]),
        |text| Window::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, window)| window);
}

/// What a text is that has no other rule.
pub(super) const PLAIN: &str = "a text that is not empty and has no control characters";

/// What the name of a header is that a claim is forwarded in.
pub(super) const HEADER: &str = "a header name that is not one of HTTP's own or a credential";

/// Claims that say something else than whom a token is for: a caller may choose some of them.
const NEVER_AN_AUDIENCE: [&str; 12] =
    ["aud", "exp", "iat", "iss", "jti", "nbf", "roles", "scope", "scp", "sub", "tid", "token_use"];

/// Headers that frame or route a message.
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Credentials that no route lets through as they are: the first is what the gateway replaces, the
/// last is many things of which a route names those that it needs.
const NEVER_PASSED: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// Returns the name of a header that is [`HEADER`].
pub(super) fn header(text: &str) -> Option<HeaderName> {
    removable(text).filter(|name| !is_credential_header(name.as_str()))
}

/// Returns the name of a header without which a message stays the same message.
fn removable(text: &str) -> Option<HeaderName> {
    HeaderName::parse(text).filter(|name| !FRAMING.contains(&name.as_str()))
}

/// A token of RFC 9110 §5.6.2, as the name of a cookie is one.
fn token(text: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!text.is_empty() && text.bytes().all(allowed)).then(|| text.to_owned())
}

/// Returns true for a text that may stand in logs and in names of metrics.
pub(super) fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// The host of an issuer that is a URL, as its label.
pub(super) fn host_label(issuer: &str) -> Option<String> {
    let uri: ::http::Uri = issuer.parse().ok()?;
    uri.host().filter(|host| is_label(host)).map(str::to_owned)
}

/// Returns a text that is [`PLAIN`].
pub(super) fn plain(text: &str) -> Option<String> {
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn span(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// Eight, four, four, four and twelve hexadecimal digits (RFC 9562 §4).
fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(is_hex)
}

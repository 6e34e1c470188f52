//! What a single value of the configuration may look like.

use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected};

use crate::http::{HeaderName, Uri};
use crate::jwt::{ClaimName, TokenType};
use crate::policy::{DeploymentPlace, HostPattern, PathPattern};
use crate::signature::Algorithm;

/// A kind of text: what is wanted of it, in words, and what it becomes.
pub(super) trait Word {
    type Value;
    const WANTED: &'static str;
    fn read(text: &str) -> Option<Self::Value>;
}

/// A JSON string that was read as one kind of [`Word`].
pub(super) struct Text<W: Word>(pub(super) W::Value);

impl<'de, W: Word> Deserialize<'de> for Text<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // User information may be a password, and this is going to be logged.
        let has_user = text.contains("://") && text.contains('@');
        let found =
            if has_user { Unexpected::Other("user information") } else { Unexpected::Str(&text) };
        let wrong = || D::Error::invalid_value(found, &W::WANTED);
        W::read(&text).map(Self).ok_or_else(wrong)
    }
}

/// A JSON list with at least one item.
pub(super) struct NonEmpty<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for NonEmpty<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = Vec::deserialize(deserializer)?;
        if items.is_empty() {
            return Err(D::Error::custom("found an empty list, wanted at least one item"));
        }
        Ok(Self(items))
    }
}

impl<W: Word> NonEmpty<Text<W>> {
    pub(super) fn into_values(self) -> Vec<W::Value> {
        self.0.into_iter().map(|text| text.0).collect()
    }
}

/// A whole number from 1 to 2³² − 1, which counts on every machine. Istio's numbers are doubles, so
/// `4096` may arrive as `4.096e3`.
pub(super) struct Count(pub(super) usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let from_float = || {
            // `{:.0}` is exact for the integral floats that pass the test.
            let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
            format!("{float:.0}").parse().ok()
        };
        let whole: Option<u64> = number.as_u64().or_else(from_float);
        let count = whole.filter(|count| (1..1 << 32).contains(count));
        count.and_then(|count| count.try_into().ok()).map(Self).ok_or_else(|| {
            let wanted = "wanted a whole number from 1 to 4294967295";
            D::Error::custom(format_args!("found {number}, {wanted}"))
        })
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
        let wanted = "the name of an environment variable: up to 128 of A-Z a-z 0-9 _";
        Err(D::Error::custom(format_args!("found another text, wanted {wanted}")))
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

/// Declares a kind of [`Word`]: its name, what it becomes, what is wanted, and how it is read.
macro_rules! word {
    ($name:ident -> $value:ty, $wanted:expr, $read:expr) => {
        pub(super) struct $name(PhantomData<()>);

        impl Word for $name {
            type Value = $value;
            const WANTED: &'static str = $wanted;

            fn read(text: &str) -> Option<$value> {
                let read: fn(&str) -> Option<$value> = $read;
                read(text)
            }
        }
    };
}

/// What a label may be: it appears in logs and in names of metrics, so it must be tame.
pub(super) const LABEL: &str = "1 to 64 of A-Z a-z 0-9 . _ -";

word!(Label -> String, LABEL, |text| is_label(text).then(|| text.to_owned()));
word!(Claim -> ClaimName, "the name of a claim, or a JSON pointer such as \"/realm_access/roles\" (RFC 6901)", ClaimName::parse);
word!(Plain -> String, "a text that is not empty and has no control characters", plain);
word!(Scope -> String, "one scope, without spaces, quotes or backslashes (RFC 6749 §3.3)", |text| {
    let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    (!text.is_empty() && text.bytes().all(allowed)).then(|| text.to_owned())
});
word!(Method -> String, "a method in capitals, not CONNECT", |text| {
    let capitals = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
    (capitals && text != "CONNECT").then(|| text.to_owned())
});
word!(Wait -> Duration, "a duration from 1ms to 30d, such as \"60s\"", |text| {
    let longest = Duration::from_hours(30 * 24);
    span(text).filter(|span| (Duration::from_millis(1)..=longest).contains(span))
});
word!(Leeway -> Duration, "a duration up to 5m, such as \"60s\"", |text| {
    span(text).filter(|span| *span <= Duration::from_mins(5))
});
word!(SignatureAlgorithm -> Algorithm, "one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, Ed25519", Algorithm::named);
word!(Type -> TokenType, "a token type such as \"at+jwt\"", TokenType::parse);
word!(Host -> HostPattern, "a host such as \"api.example.com\" or \"*.example.com\", without a port", HostPattern::parse);
word!(Path -> PathPattern, "a pattern such as \"/openai/deployments/{deployment}/{*rest}\"", PathPattern::parse);
word!(Header -> HeaderName, "a header name that is not one of HTTP's own or a credential", |text| {
    HeaderName::parse(text).filter(|name| !RESERVED.contains(&name.as_str()))
});
word!(KeySetUri -> Uri, "a URI such as \"https://idp.example.com/jwks.json\", without user information and not link-local", Uri::parse);
word!(TokenUri -> Uri, "a URI such as \"https://idp.example.com/token\", without user information and not link-local", Uri::parse);
word!(Resource -> Identifier, "an https URL such as \"https://gateway.example.com\", without user information, query and fragment", |text| {
    let uri = Uri::parse_anywhere(text)?;
    let is_quotable = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\?#".contains(&byte));
    let is_sound = is_quotable && text.starts_with("https://");
    is_sound.then(|| Identifier { text: text.to_owned(), uri })
});
word!(MetadataPath -> String, "a path of A-Z a-z 0-9 . _ ~ - and /", |text| {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-/".contains(&byte);
    (text.starts_with('/') && text.bytes().all(allowed)).then(|| text.to_owned())
});
word!(TenantId -> String, TENANT, |text| is_guid(text).then(|| text.to_ascii_lowercase()));
word!(Place -> DeploymentPlace, "one of \"path\", \"body.model\"", |text| match text {
    "body.model" => Some(DeploymentPlace::Body),
    "path" => Some(DeploymentPlace::Path),
    _ => None,
});
word!(CloudName -> Cloud, "one of \"public\", \"us-government\", \"china\"", |text| match text {
    "china" => Some(Cloud::China),
    "public" => Some(Cloud::Public),
    "us-government" => Some(Cloud::UsGovernment),
    _ => None,
});

const TENANT: &str = "a tenant's id such as \"72f988bf-86f1-41af-91ab-2d7cd011db47\"; in place of \
                      `common` or `organizations` list every tenant whose tokens you accept";

/// Headers that frame or route a message, or carry the credential itself.
const RESERVED: [&str; 15] = [
    "api-key",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "keep-alive",
    "ocp-apim-subscription-key",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// The host of an issuer that is a URL, as its label.
pub(super) fn host_label(issuer: &str) -> Option<String> {
    let uri: ::http::Uri = issuer.parse().ok()?;
    uri.host().filter(|host| is_label(host)).map(str::to_owned)
}

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

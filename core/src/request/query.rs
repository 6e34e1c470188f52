//! The query of a request, in which realtime clients name the deployment.

use percent_encoding::percent_decode;

use super::path::is_unreserved;
use crate::denial::Denial;

/// The parameters in which a deployment stands: of Azure's own interface, and of `/openai/v1/`.
const NAMES: [&[u8]; 2] = [b"deployment", b"model"];

/// Limits the name of a deployment, in bytes; Azure's own limit is 64.
const MAX_NAME: usize = 256;

/// Returns the deployment that a query names, if it names one.
pub(super) fn deployment(query: &[u8]) -> Result<Option<&str>, Denial> {
    let mut found = query.split(|byte| *byte == b'&').filter(|pair| may_name(pair));
    let Some(pair) = found.next() else { return Ok(None) };
    let named = plain(pair).filter(|_| found.next().is_none());
    named.map(Some).ok_or(Denial::ModelMalformed)
}

/// Could some server read this parameter, or a part of it, as one of the names? Servers differ in
/// case, in escapes, in what they ignore around a name, in `;` as a separator and in `model[]`.
fn may_name(parameter: &[u8]) -> bool {
    parameter.split(|byte| *byte == b';').any(|one| {
        let name = one.split(|byte| *byte == b'=').next().unwrap_or_default();
        let name = percent_decode(name).take_while(|byte| *byte != b'[');
        let name = name.filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase());
        NAMES.contains(&name.collect::<Vec<u8>>().as_slice())
    })
}

/// Returns the value of a parameter that every server reads alike.
fn plain(parameter: &[u8]) -> Option<&str> {
    let at = parameter.iter().position(|byte| *byte == b'=')?;
    let (name, value) = parameter.split_at(at);
    let value = value.strip_prefix(b"=")?;
    let is_plain = NAMES.contains(&name)
        && (1..=MAX_NAME).contains(&value.len())
        && value.iter().all(|byte| is_unreserved(*byte));
    str::from_utf8(value).ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_stands_in_one_parameter_of_either_name() {
        let named = |query: &'static str| deployment(query.as_bytes());
        assert_eq!(named("api-version=2025-04-01-preview&deployment=rt-1"), Ok(Some("rt-1")));
        assert_eq!(named("model=gpt-realtime"), Ok(Some("gpt-realtime")));
        assert_eq!(named("a=model&models=x&remodel=y&deployments="), Ok(None));
        assert_eq!(named(""), Ok(None));
    }

    #[test]
    fn what_could_be_read_as_another_deployment_is_refused() {
        let queries = [
            "model=a&model=a",
            "model=a&deployment=a",
            "deployment=a&Deployment=b",
            "model=a&%6dodel=b",
            "model=a&model%00=b",
            "model=a&model[]=b",
            "model=a&+model=b",
            "model=a&x=1;model=b",
            "model=a;x=1",
            "%6Dodel=a",
            "model",
            "model=",
            "model=%61",
            "model=a+b",
            "model=a%00",
            "model=a#b",
            "model=a/b",
            "model=\u{e9}",
        ];
        for query in queries {
            assert_eq!(deployment(query.as_bytes()), Err(Denial::ModelMalformed), "{query}");
        }
        let long = format!("model={}", "a".repeat(MAX_NAME + 1));
        assert_eq!(deployment(long.as_bytes()), Err(Denial::ModelMalformed));
    }
}

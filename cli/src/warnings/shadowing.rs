//! Whether earlier routes match every request that a later one would.

use keyless_core::policy::{HostPattern, Route};

/// Returns the places of the routes that together match every request of a later one, each method,
/// host and path of it by a single route; `None` if some request is left for it.
pub(super) fn shadowing(earlier: &[Route], later: &Route) -> Option<Vec<usize>> {
    let any = [None];
    let listed: Vec<_> = later.hosts.iter().map(Some).collect();
    let hosts = if listed.is_empty() { any.as_slice() } else { listed.as_slice() };
    let mut shadowing = Vec::new();
    let methods_and_hosts = later.methods.iter().flat_map(|m| hosts.iter().map(move |h| (m, *h)));
    let requests = methods_and_hosts.flat_map(|pair| later.paths.iter().map(move |p| (pair, p)));
    for ((method, host), path) in requests {
        let at = earlier.iter().position(|route| {
            route.methods.contains(method)
                && covers_host(&route.hosts, host)
                && route.paths.iter().any(|one| covers_path(one.as_str(), path.as_str()))
        })?;
        if !shadowing.contains(&at) {
            shadowing.push(at);
        }
    }
    Some(shadowing)
}

fn covers_host(patterns: &[HostPattern], host: Option<&HostPattern>) -> bool {
    let is_below = |pattern: &HostPattern, suffix: &str| match pattern {
        HostPattern::Below(other) => {
            suffix.to_ascii_lowercase().ends_with(&other.to_ascii_lowercase())
        }
        HostPattern::Exact(_) => false,
    };
    patterns.is_empty()
        || match host {
            None => false,
            Some(HostPattern::Exact(name)) => patterns.iter().any(|one| one.matches(name)),
            Some(HostPattern::Below(suffix)) => patterns.iter().any(|one| is_below(one, suffix)),
        }
}

/// Is every path of the later pattern one of the earlier pattern? Segment by segment; where a
/// pattern is not a plain one, only if the two are written alike.
fn covers_path(earlier: &str, later: &str) -> bool {
    let is_odd = |pattern: &str| pattern.contains("{{") || pattern.contains("}}");
    if is_odd(earlier) || is_odd(later) {
        return earlier == later;
    }
    let (mut wide, mut narrow) = (earlier.split('/'), later.split('/'));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) => return true,
            (Some(wide), Some(narrow)) if wide.starts_with("{*") => return !narrow.is_empty(),
            (Some(wide), Some(narrow)) if covers_segment(wide, narrow) => {}
            _ => return false,
        }
    }
}

fn covers_segment(wide: &str, narrow: &str) -> bool {
    let is_whole = wide.starts_with('{') && wide.find('}') == wide.len().checked_sub(1);
    let is_rest = narrow.contains("{*");
    (is_whole && !is_rest && !narrow.is_empty()) || shape(wide) == shape(narrow)
}

/// A segment without the names of its parameters.
fn shape(segment: &str) -> String {
    let mut shape = String::new();
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        shape.push_str(before);
        shape.push_str(if name.starts_with('*') { "{*}" } else { "{}" });
        rest = after;
    }
    shape + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_it_matches_and_no_more() {
        for (earlier, later) in [
            ("/a", "/a"),
            ("/{x}", "/{y}"),
            ("/{x}/b", "/a/b"),
            ("/{*rest}", "/a/{b}/{*c}"),
            ("/a/{*rest}", "/a/b"),
            ("/a-{x}", "/a-{y}"),
            ("/{x}", "/a-{y}"),
            ("/{{a}}", "/{{a}}"),
        ] {
            assert!(covers_path(earlier, later), "{earlier} {later}");
        }
        for (earlier, later) in [
            ("/a", "/{x}"),
            ("/{x}", "/a/b"),
            ("/{x}", "/"),
            ("/{x}", "/{*rest}"),
            ("/a/{*rest}", "/a/"),
            ("/a/{*rest}", "/a"),
            ("/a-{x}", "/b-{x}"),
            ("/{x}", "/{{a}}"),
            ("/{x}", "/a/"),
        ] {
            assert!(!covers_path(earlier, later), "{earlier} {later}");
        }
    }

    #[test]
    fn a_host_is_covered_by_itself_by_its_suffix_and_by_any() {
        let exact = |name: &str| HostPattern::Exact(name.to_owned());
        let below = |suffix: &str| HostPattern::Below(suffix.to_owned());
        assert!(covers_host(&[], None) && covers_host(&[], Some(&exact("a"))));
        assert!(!covers_host(&[exact("a")], None));
        assert!(covers_host(&[below(".b")], Some(&exact("A.B"))));
        assert!(covers_host(&[below(".b")], Some(&below(".a.B"))));
        assert!(!covers_host(&[below(".a.b")], Some(&below(".b"))));
        assert!(!covers_host(&[exact("a.b")], Some(&below(".b"))));
    }
}

//! The route that comes nearest to a path that none matches, for the reply.

use super::index::Routes;
use super::route::{PathPattern, Route};

/// How many patterns are compared; a request that none matches may come from anybody.
const MAX_COMPARED: usize = 256;

/// The longest pattern that is named, in bytes.
const MAX_NAMED: usize = 256;

impl Routes {
    /// Returns the methods and the pattern of the route that comes nearest to a path, of those for
    /// its host, as they were configured: one that has the path for another method, else the one that
    /// has the most in common from the start or from the end.
    pub fn nearest(&self, host: &str, path: &str) -> Option<String> {
        let mut nearest: Option<(usize, &Route, &PathPattern)> = None;
        let routes = self.iter().filter(|route| route.is_for_host(host));
        let patterns = routes.flat_map(|route| route.paths.iter().map(move |path| (route, path)));
        for (route, pattern) in patterns.take(MAX_COMPARED) {
            let likeness = likeness(pattern, path);
            if likeness > nearest.map_or(0, |(most, ..)| most) {
                nearest = Some((likeness, route, pattern));
            }
        }
        let (_, route, pattern) =
            nearest.filter(|(_, _, pattern)| pattern.as_str().len() <= MAX_NAMED)?;
        Some(format!("{} {}", route.methods.join(", "), pattern.as_str()))
    }
}

fn likeness(pattern: &PathPattern, path: &str) -> usize {
    if pattern.matches(path).is_some() {
        return usize::MAX;
    }
    let segments = |text: &'_ str| text.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>();
    let (pattern, path) = (segments(pattern.as_str()), segments(path));
    let from_start = common(pattern.iter().zip(&path));
    let from_end = common(pattern.iter().rev().zip(path.iter().rev()));
    from_start.max(from_end)
}

/// Weighs the segments in common before the first that differs: a text more than a parameter, and
/// parameters alone not at all.
fn common<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> usize {
    let (mut weight, mut has_text) = (0_usize, false);
    for (pattern, segment) in pairs {
        let is_parameter = pattern.starts_with('{') && !pattern.starts_with("{*");
        if pattern == segment {
            has_text = true;
            weight = weight.saturating_add(2);
        } else if is_parameter && !segment.is_empty() {
            weight = weight.saturating_add(1);
        } else {
            break;
        }
    }
    if has_text { weight } else { 0 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{get, route, routes};

    #[test]
    fn the_nearest_route_has_the_most_in_common_from_either_end() {
        let list = routes(&json!([
            get("classic", "/openai/deployments/{deployment}/chat/completions"),
            get("v1", "/openai/v1/chat/completions"),
            get("files", "/openai/v1/files/{*rest}"),
            route("inner", json!({ "methods": ["GET"], "path": "/x", "hosts": ["in.example"] })),
        ]));
        let near = |path| list.nearest("", path);
        let rows = [
            ("/v1/chat/completions", "GET /openai/v1/chat/completions"),
            ("/openai/v1/chat/completion", "GET /openai/v1/chat/completions"),
            (
                "/openai/deployments/gpt-4o/completions",
                "GET /openai/deployments/{deployment}/chat/completions",
            ),
            ("/openai/v1/files", "GET /openai/v1/files/{*rest}"),
        ];
        for (path, expected) in rows {
            assert_eq!(near(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(near("/wp-login.php"), None);
        assert_eq!(near("/x/y"), None, "it is another host's");
        assert!(list.nearest("in.example", "/x/y").is_some());
    }

    #[test]
    fn a_route_for_another_method_is_the_nearest() {
        let both = json!({ "methods": ["POST", "DELETE"], "path": "/{*rest}" });
        let list = routes(&json!([get("a", "/a/b"), route("any", both)]));
        assert_eq!(list.nearest("", "/a/c").as_deref(), Some("POST, DELETE /{*rest}"));
    }
}

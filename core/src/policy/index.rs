//! The routes in a tree, so that a thousand cost no more than ten.
//!
//! The tree proposes and the routes decide: it leads to every route that could match, and leaves out
//! only those that cannot. So a first match in it is the first match in the list.

use std::fmt;
use std::str::Split;

use hashbrown::HashMap;

use super::route::{HostPattern, Route};
use super::{Match, RouteIndex, is_for};

/// Holds the routes in their order.
pub struct Routes {
    list: Vec<Route>,
    tree: Node,
}

/// A place in the tree. The first step from its root is a method, the second a host, each further
/// one a segment of a path.
#[derive(Default)]
struct Node {
    /// The steps that demand one text. They are the configuration's, not a caller's, so that a hash
    /// may be quick rather than hard to guess.
    exact: HashMap<Box<str>, Self>,
    /// The step that any text allows.
    any: Option<Box<Self>>,
    /// The routes that end here, by their places in the list.
    ends: Vec<usize>,
    /// The routes that end here or anywhere below.
    open: Vec<usize>,
}

/// What a pattern allows in one segment, at least.
enum Step<'a> {
    Any,
    Exact(&'a str),
    Rest,
}

/// A walk through the tree, and the earliest route that it has come across.
struct Search<'a, 'r> {
    list: &'a [Route],
    method: &'r str,
    host: &'r str,
    path: &'r str,
    found: Option<(usize, Match<'a, 'r>)>,
}

/// How many segments of a pattern the tree looks at; it leaves more of them to the route.
const MAX_DEPTH: usize = 32;

impl Routes {
    /// Sorts the routes into a tree.
    pub fn new(list: Vec<Route>) -> Self {
        let mut tree = Node::default();
        for (at, route) in list.iter().enumerate() {
            for method in &route.methods {
                let hosts = tree.exact(method);
                for path in &route.paths {
                    if route.hosts.is_empty() {
                        hosts.any().insert(path.as_str(), at);
                    }
                    for host in &route.hosts {
                        hosts.exact(&key(host)).insert(path.as_str(), at);
                    }
                }
            }
        }
        Self { list, tree }
    }

    /// Returns all routes in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.list.iter()
    }

    /// Returns the route at a place in the configuration.
    pub fn route(&self, index: RouteIndex) -> Option<&Route> {
        self.list.get(index.0)
    }

    /// Matches a path with the route that was found for it before.
    pub fn matched<'r>(&self, index: RouteIndex, path: &'r str) -> Option<Match<'_, 'r>> {
        let route = self.route(index)?;
        route.matches(path).map(|deployment| Match { index, route, deployment })
    }

    /// Finds the first route for a method, a host without its port, and a path without its query.
    pub fn find<'r>(&self, method: &'r str, host: &'r str, path: &'r str) -> Option<Match<'_, 'r>> {
        let segments = path.strip_prefix('/')?.split('/');
        let hosts = self.tree.exact.get(method)?;
        let mut search = Search { list: &self.list, method, host, path, found: None };
        if let Some(node) = &hosts.any {
            search.walk(node, segments.clone());
        }
        if !hosts.exact.is_empty() {
            let host = host.to_ascii_lowercase();
            let suffixes = host.match_indices('.').filter_map(|(at, _)| host.get(at..));
            let names = std::iter::once(host.as_str()).chain(suffixes);
            for node in names.filter_map(|name| hosts.exact.get(name)) {
                search.walk(node, segments.clone());
            }
        }
        search.found.map(|(_, found)| found)
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Routes({})", self.list.len())
    }
}

/// What a host must be, or end in, for this pattern; the two cannot be confused, because no pattern
/// names a host that begins with a dot.
fn key(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) => name.to_ascii_lowercase(),
        HostPattern::Below(suffix) => suffix.to_ascii_lowercase(),
    }
}

impl Node {
    fn exact(&mut self, text: &str) -> &mut Self {
        self.exact.entry(text.into()).or_default()
    }

    fn any(&mut self) -> &mut Self {
        self.any.get_or_insert_default()
    }

    fn insert(&mut self, pattern: &str, route: usize) {
        let mut node = self;
        let segments = pattern.strip_prefix('/').unwrap_or(pattern).split('/');
        for (depth, segment) in segments.enumerate() {
            node = match Step::of(segment) {
                Step::Rest => return node.open.push(route),
                Step::Any | Step::Exact(_) if depth == MAX_DEPTH => return node.open.push(route),
                Step::Any => node.any(),
                Step::Exact(text) => node.exact(text),
            };
        }
        node.ends.push(route);
    }
}

impl<'a> Step<'a> {
    /// Reads a segment of a pattern; where it has braces the route will look closer.
    fn of(segment: &'a str) -> Self {
        if segment.contains("{*") {
            Self::Rest
        } else if segment.contains(['{', '}']) {
            Self::Any
        } else {
            Self::Exact(segment)
        }
    }
}

impl<'a> Search<'a, '_> {
    /// Goes down every branch that the segments allow; no deeper than the tree, which is bounded.
    fn walk(&mut self, node: &'a Node, mut segments: Split<'_, char>) {
        self.consider(&node.open);
        let Some(segment) = segments.next() else { return self.consider(&node.ends) };
        if let Some(next) = node.exact.get(segment) {
            self.walk(next, segments.clone());
        }
        if let Some(next) = &node.any {
            self.walk(next, segments);
        }
    }

    /// Asks the routes at a place, the earliest first, if one is earlier than what was found.
    fn consider(&mut self, routes: &[usize]) {
        let found = self.found.map_or(usize::MAX, |(at, _)| at);
        let mut earlier = routes.iter().copied().take_while(|at| *at < found);
        let found = earlier.find_map(|at| {
            let route = self.list.get(at)?;
            let is_for = is_for(route, self.method, self.host);
            let deployment = is_for.then(|| route.matches(self.path)).flatten()?;
            Some((at, Match { index: RouteIndex(at), route, deployment }))
        });
        self.found = found.or(self.found);
    }
}

#[cfg(test)]
mod tests;

//! Whose account the answer of an admitted request goes to.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Charge, Record};
use crate::ask;
use crate::policy::{Access, Route};
use crate::price::{Price, Prices};
use crate::request::Head;
use crate::usage::Counting;

/// Says that the answer of a request is to be read for what it used, and what is counted then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// The limits that it counts for.
    pub charges: Vec<Charge>,
    /// The body is to pass through [`ask::BodyEditor`].
    pub is_asked: bool,
    /// The names under which it is counted.
    pub labels: Labels,
    /// What the tokens of its deployment cost, if that is known.
    pub price: Option<Price>,
}

/// Names what is counted: values of labels, from the configuration alone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Labels {
    /// The issuer's entry, or `none` on a public route.
    pub issuer: Rc<str>,
    /// The route.
    pub route: Rc<str>,
    /// A deployment that the configuration names, `other`, or `none` if the request named none.
    pub deployment: Rc<str>,
}

/// What the configuration says of deployments and their prices.
pub(super) struct Accounts {
    /// The deployments that may be labels, with their prices.
    deployments: BTreeMap<Rc<str>, Option<Price>>,
    none: Rc<str>,
    other: Rc<str>,
}

impl Accounts {
    pub(super) fn new(routes: &[Route], prices: &Prices) -> Self {
        let grants = routes.iter().flat_map(|route| match &route.access {
            Access::Granted { grants, .. } => grants.as_slice(),
            Access::Health | Access::Public => &[],
        });
        let named = grants.flat_map(|grant| &grant.deployments).map(String::as_str);
        let named = named.filter(|name| is_label(name)).chain(prices.deployments());
        let deployments = named.map(|name| (Rc::from(name), prices.of(name).copied())).collect();
        Self { deployments, none: "none".into(), other: "other".into() }
    }

    /// Returns the account of a request that goes on by this route, if its answer is counted. Only
    /// POST makes a model work; whoever asks for a finished response again does not pay again.
    pub(super) fn of(&self, head: &Head, route: &Route, record: &Record) -> Option<Account> {
        let counting = route.counting.filter(|_| head.method() == "POST")?;
        let deployment = record.deployment.as_deref();
        let known = deployment.map(|name| self.deployments.get_key_value(name));
        let (label, price) = match known {
            None => (&self.none, None),
            Some(None) => (&self.other, None),
            Some(Some((name, price))) => (name, *price),
        };
        let labels = Labels {
            issuer: record.issuer.clone().unwrap_or_else(|| self.none.clone()),
            route: route.name.clone(),
            deployment: label.clone(),
        };
        let is_asked = counting == Counting::Ask && ask::is_askable(head);
        Some(Account { charges: Vec::new(), is_asked, labels, price })
    }
}

/// A grant may name any text; one that is no label is counted as another deployment.
fn is_label(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

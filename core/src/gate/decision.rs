//! The way of a request through the rooms, from its first byte to the last check.

use std::time::SystemTime;

use super::waiting::{Content, Pending};
use super::{Forward, Gate, PREFLIGHT, Record, Ruling, Verdict, forward};
use crate::bearer;
use crate::denial::Denial;
use crate::http::Reply;
use crate::policy::{self, Access, Deployment, DeploymentPlace};
use crate::request::Head;

/// Why a request cannot go on now; the places are those of the configuration.
pub(super) enum Stop {
    /// The model that it is for stands in its body.
    BodyMissing,
    Deny(Denial),
    /// The signature is of none of the keys, which may not be all; or else it is this.
    KeyUnknown(usize, Denial),
    KeysMissing(usize),
    TokenMissing(usize),
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Deny(denial)
    }
}

impl Gate {
    /// Decides a request, or says what it has to wait for.
    pub(super) fn rule(
        &mut self,
        head: &Head,
        content: &Content,
        arrived: SystemTime,
        now: SystemTime,
    ) -> Result<Ruling, Box<Pending>> {
        let mut record = Record::default();
        let stop = match self.decide(head, content, &mut record, now) {
            Ok(verdict) => return Ok(Ruling { verdict, record }),
            Err(stop) => stop,
        };
        let denial = match self.pending(stop, arrived, now) {
            Ok(pending) => return Err(Box::new(Pending { record, ..pending })),
            Err(denial) => denial,
        };
        match self.refuse(head, &denial, &record, now) {
            Ok(ruling) => Ok(ruling),
            Err(stop) => match self.pending(stop, arrived, now) {
                Ok(pending) => Err(Box::new(Pending { record, ..pending })),
                Err(denial) => Ok(self.deny(&denial, record)),
            },
        }
    }

    /// Refuses a request, or only records that it would be refused, and lets it go on.
    fn refuse(
        &self,
        head: &Head,
        denial: &Denial,
        record: &Record,
        now: SystemTime,
    ) -> Result<Ruling, Stop> {
        if !self.report_only || denial.is_about_identity() {
            return Ok(self.deny(denial, record.clone()));
        }
        let find = |path| self.routes.find(head.method(), head.host(), path);
        let found = head.path().ok().and_then(find);
        let (identity, wanted) = match found.map(|found| &found.route.access) {
            Some(Access::Granted { identity, forward_claims, .. }) => {
                (*identity, forward_claims.as_slice())
            }
            Some(Access::Health | Access::Public) | None => (None, &[][..]),
        };
        let claims =
            record.verified.as_ref().map(|verified| forward::values(wanted, verified.claims()));
        let token = identity.map(|at| self.identities.token(at, now)).transpose()?;
        let forward = Forward::new(head, &self.stripped, token, claims.unwrap_or_default());
        let record = Record { reason: denial.code(), ..record.clone() };
        Ok(Ruling { verdict: Verdict::Forward(forward), record })
    }

    /// Refuses a request that can wait no longer.
    pub(super) fn give_up(
        &self,
        head: &Head,
        denial: &Denial,
        record: Record,
        now: SystemTime,
    ) -> Ruling {
        let ruling = self.refuse(head, denial, &record, now);
        ruling.unwrap_or_else(|_| self.deny(denial, record))
    }

    fn deny(&self, denial: &Denial, record: Record) -> Ruling {
        Ruling::deny(denial, record, self.resource.as_ref())
    }

    /// The way of a request, from the first byte to the last check.
    fn decide(
        &mut self,
        head: &Head,
        content: &Content,
        record: &mut Record,
        now: SystemTime,
    ) -> Result<Verdict, Stop> {
        let path = head.path()?;
        if let Some(resource) = self.resource.as_ref().filter(|resource| resource.path == path)
            && matches!(head.method(), "GET" | "HEAD")
        {
            record.reason = "metadata";
            return Ok(Verdict::Answer(Reply::json(200, resource.metadata.clone())));
        }
        let Some(found) = self.routes.find(head.method(), head.host(), path) else {
            return self.preflight(head, path, record).ok_or(Stop::Deny(Denial::RouteUnknown));
        };
        record.route = Some(found.route.name.clone());
        let stripped = &self.stripped;
        let (grants, identity, forward_claims) = match &found.route.access {
            Access::Health => {
                // So that the next probe, or the first request, finds what this one did not.
                self.awake = true;
                return Ok(self.health(record, now));
            }
            Access::Public => {
                record.reason = "public";
                return Ok(Verdict::Forward(Forward::new(head, stripped, None, Vec::new())));
            }
            Access::Granted { grants, identity, forward_claims } => {
                (grants, *identity, forward_claims)
            }
        };
        let credential = bearer::credential(&head.authorization())?;
        let (issuer, verified) = self.issuers.authenticate(credential, record, now)?;
        let claims = verified.claims();
        let deployment = match found.route.deployment {
            DeploymentPlace::Body => content.deployment(),
            DeploymentPlace::Path => found.deployment.into(),
        };
        policy::admit(grants, issuer, deployment, claims)?;
        if deployment == Deployment::Unread {
            return Err(content.stop(head));
        }
        record.deployment = deployment.name().map(str::to_owned);
        record.reason = "ok";
        let token = identity.map(|at| self.identities.token(at, now)).transpose()?;
        let claims = forward::values(forward_claims, claims);
        Ok(Verdict::Forward(Forward::new(head, stripped, token, claims)))
    }

    /// Lets a browser ask whether it may come: that has no credential, and gets none.
    fn preflight(&self, head: &Head, path: &str, record: &mut Record) -> Option<Verdict> {
        let found = self.routes.find(head.preflight()?, head.host(), path)?;
        let route = Some(found.route).filter(|route| route.cors)?;
        record.route = Some(route.name.clone());
        record.reason = PREFLIGHT;
        Some(Verdict::Forward(Forward::new(head, &self.stripped, None, Vec::new())))
    }

    /// Says what to wait for, or that waiting does not help.
    fn pending(
        &mut self,
        stop: Stop,
        arrived: SystemTime,
        now: SystemTime,
    ) -> Result<Pending, Denial> {
        match stop {
            Stop::BodyMissing => Ok(Pending::body()),
            Stop::Deny(denial) => Err(denial),
            Stop::KeyUnknown(at, denial) => self.issuers.pending_key(at, denial, arrived, now),
            Stop::KeysMissing(at) => self.issuers.pending_keys(at, now),
            Stop::TokenMissing(at) => self.identities.pending(at, now),
        }
    }
}

//! The flow of a request through the rooms, from its first byte to the last check.

use std::time::SystemTime;

use super::account::Accounts;
use super::decision::{MAX_PROBE_WAIT, Stop};
use super::identities::Identities;
use super::issuers::Issuers;
use super::limits::Limits;
use super::trace::{Step, Trace};
use super::waiting::{Body, Request};
use super::{Decided, Decision, Forward, Record, Wait, forward, health};
use crate::bearer::{self, CredentialPlace};
use crate::credentials::{Pass, Stripped};
use crate::denial::Denial;
use crate::fetch::after;
use crate::http::Reply;
use crate::jwt::Token;
use crate::limit::Caller;
use crate::metadata::ProtectedResource;
use crate::policy::{self, Access, Deployment, DeploymentPlace, Match, RouteIndex, Routes};
use crate::request::Head;

/// Decides requests by the rules of the configuration and by what was fetched.
pub(super) struct Admission {
    pub(super) identities: Identities,
    pub(super) issuers: Issuers,
    pub(super) limits: Limits,
    pub(super) rules: Rules,
    /// A thread that serves nobody fetches nothing; a probe or a request that waits wakes it.
    pub(super) is_awake: bool,
}

/// What the configuration says of requests.
pub(super) struct Rules {
    pub(super) accounts: Accounts,
    pub(super) report_only: bool,
    pub(super) resource: Option<ProtectedResource>,
    pub(super) routes: Routes,
    pub(super) stripped: Stripped,
}

/// Where a request leads.
enum Located<'a, 'r> {
    /// To a route that asks for a token, or that answers a probe.
    Checked(Match<'a, 'r>),
    /// To the backend without any identity; the route lets this through.
    Open(Option<&'a Pass>),
}

/// The reason why a preflight goes on, which carries no token.
const PREFLIGHT: &str = "preflight";

impl Admission {
    /// Decides a request, or says what it has to wait for.
    pub(super) fn decide(
        &mut self,
        request: &mut Request,
        trace: &mut impl Trace,
        now: SystemTime,
    ) -> Decided {
        let mut record = Record::default();
        match self.walk(request, &mut record, trace, now) {
            Ok(forward) => {
                let forward = self.rules.counted(forward, request, &record);
                Decided { decision: Decision::Forward(forward), record }
            }
            Err(stop) => self.stopped(request, stop, record, now),
        }
    }

    /// Decides a request, and then makes the steps that a decision leaves out after the first one
    /// that fails.
    pub(super) fn explain(
        &mut self,
        request: &mut Request,
        now: SystemTime,
    ) -> (Decided, Vec<Step>) {
        let mut steps = Vec::new();
        let decided = self.decide(request, &mut steps, now);
        self.survey(request, &mut steps, now);
        (decided, steps)
    }

    /// Refuses a request that can wait no longer.
    pub(super) fn give_up(
        &mut self,
        request: &mut Request,
        denial: &Denial,
        record: Record,
        now: SystemTime,
    ) -> Decided {
        let decided = self.stopped(request, Stop::Deny(denial.clone()), record, now);
        match decided.decision {
            Decision::Wait(_) => self.rules.deny(denial, decided.record),
            Decision::Deny(_) | Decision::Forward(_) | Decision::Respond(_) => decided,
        }
    }

    /// Takes every step in turn, and ends at the first that stops the request.
    fn walk(
        &mut self,
        request: &mut Request,
        record: &mut Record,
        trace: &mut impl Trace,
        now: SystemTime,
    ) -> Result<Forward, Stop> {
        let Request { arrived, body, head, route } = request;
        let stripped = &self.rules.stripped;
        let found = match self.rules.locate(head, route, record, trace)? {
            Located::Checked(found) => found,
            Located::Open(pass) => return Ok(Forward::new(head, stripped, pass, None, Vec::new())),
        };
        let Access::Granted { grants, identity, forward_claims } = &found.route.access else {
            return Err(self.answer_probe(*arrived, record, now));
        };
        let credential = credential(head, &found.route.credential, trace)?;
        let (entry, verified) =
            self.issuers.authenticate(credential, *arrived, record, trace, now)?;
        let claims = verified.claims();
        trace.hear(|| Step::Grants { route: found.index, entry, claims: claims.clone() });
        let deployment = deployment(&found, head, body)?;
        policy::admit_to(found.route, grants, entry, deployment, claims)?;
        if deployment == Deployment::Unread {
            return Err(body.stop(head));
        }
        record.deployment = deployment.name().map(str::to_owned);
        record.reason = "ok";
        let token = identity.map(|index| self.identities.token(index, now)).transpose();
        let caller = Caller {
            entry,
            issuer: record.issuer.as_deref().unwrap_or_default(),
            route: found.index,
            route_name: &found.route.name,
            deployment,
            claims,
        };
        // What is used up is said before anything is fetched, and what goes on is counted once.
        let admitted = self.limits.admit(&caller, token.is_ok(), &mut record.checks, now)?;
        let token = token?;
        let mut set = forward::values(forward_claims, claims);
        set.extend(forward::deployment(found.route, deployment));
        let forward = Forward::new(head, stripped, Some(&found.route.pass), token, set);
        Ok(admitted.added_to(forward))
    }

    /// Returns true if every issuer's keys and every identity's token are cached.
    pub(super) fn is_ready(&self, now: SystemTime) -> bool {
        let issuers = self.issuers.readiness(now).map(|(_, is_ready)| is_ready);
        issuers.chain(self.identities.readiness(now).map(|(_, is_ready)| is_ready)).all(|is| is)
    }

    /// Answers a probe, which waits a moment for what is about to come: each worker has keys and
    /// tokens of its own, and the first probe that meets it has them fetched.
    fn answer_probe(&mut self, arrived: SystemTime, record: &mut Record, now: SystemTime) -> Stop {
        let may_wait = now < after(MAX_PROBE_WAIT, arrived) && arrived <= now;
        if may_wait && !self.is_ready(now) {
            return Stop::Wait(Wait::for_readiness());
        }
        Stop::Respond(health::reply(&self.issuers, &self.identities, record, now))
    }

    /// Turns a stop into a decision. With `report_only` a denial is only recorded, and the request
    /// goes on; without an identity token it would go on for nothing.
    fn stopped(
        &mut self,
        request: &mut Request,
        stop: Stop,
        mut record: Record,
        now: SystemTime,
    ) -> Decided {
        let stop = match stop {
            Stop::Deny(denial) if self.rules.report_only && !denial.is_about_identity() => {
                match self.forward_unchecked(request, &record, now) {
                    Ok(forward) => {
                        let forward = self.rules.counted(forward, request, &record);
                        record.reason = denial.code();
                        return Decided { decision: Decision::Forward(forward), record };
                    }
                    Err(stop) => stop,
                }
            }
            Stop::Deny(_) | Stop::Respond(_) | Stop::Wait(_) => stop,
        };
        match stop {
            Stop::Deny(denial) => self.rules.deny(&denial, record),
            Stop::Respond(reply) => Decided { decision: Decision::Respond(reply), record },
            Stop::Wait(wait) => Decided { decision: Decision::Wait(wait), record },
        }
    }

    /// Forwards a request that was denied, with the route's identity and what is known of its caller.
    fn forward_unchecked(
        &self,
        request: &mut Request,
        record: &Record,
        now: SystemTime,
    ) -> Result<Forward, Stop> {
        let Request { head, route, body, .. } = request;
        let found = head.path().ok().and_then(|path| self.rules.find(head, path, route));
        let (identity, forward_claims) = match found.map(|found| &found.route.access) {
            Some(Access::Granted { identity, forward_claims, .. }) => {
                (*identity, forward_claims.as_slice())
            }
            Some(Access::Health | Access::Public) | None => (None, &[][..]),
        };
        let verified = record.verified.as_ref();
        let claims = verified.map(|verified| forward::values(forward_claims, verified.claims()));
        let token = identity.map(|index| self.identities.token(index, now)).transpose()?;
        let mut set = claims.unwrap_or_default();
        set.extend(found.and_then(|found| {
            forward::deployment(found.route, deployment(&found, head, body).ok()?)
        }));
        let pass = found.map(|found| &found.route.pass);
        Ok(Forward::new(head, &self.rules.stripped, pass, token, set))
    }

    /// Makes the steps that a decision left out because an earlier one failed, as far as they can be
    /// made of a token that nobody vouches for.
    fn survey(
        &mut self,
        request: &mut Request,
        steps: &mut Vec<Step>,
        now: SystemTime,
    ) -> Option<()> {
        let is_heard = |step: &Step| matches!(step, Step::Grants { .. });
        if steps.iter().any(is_heard) {
            return None;
        }
        let Request { head, route, .. } = request;
        let found = self.rules.find(head, head.path().ok()?, route)?;
        let credential = bearer::credential_in(head, &found.route.credential);
        let credential = credential.and_then(bearer::token).ok()?;
        let token = Token::parse_for(credential, self.issuers.claims()).ok()?;
        let claims = token.unverified().clone();
        let entry = self.issuers.survey(token, steps, now)?;
        steps.hear(|| Step::Grants { route: found.index, entry, claims });
        Some(())
    }
}

impl Rules {
    /// Adds to a request that goes on whose account its answer goes to.
    fn counted(&self, forward: Forward, request: &Request, record: &Record) -> Forward {
        let route = request.route.and_then(|index| self.routes.route(index));
        let account = route.and_then(|route| self.accounts.of(&request.head, route, record));
        forward.counted(&request.head, account)
    }

    /// Refuses; a challenge points to the metadata of the protected resource, if there are any.
    pub(super) fn deny(&self, denial: &Denial, mut record: Record) -> Decided {
        record.reason = denial.code();
        let reply = match &self.resource {
            Some(resource) => resource.reply(denial),
            None => denial.reply(),
        };
        Decided { decision: Decision::Deny(reply), record }
    }

    /// Finds the route of a request that asks for a token, or of a probe; public routes and CORS
    /// preflights ask for none, and have nothing more to check.
    fn locate<'a, 'r>(
        &'a self,
        head: &'r Head,
        route: &mut Option<RouteIndex>,
        record: &mut Record,
        trace: &mut impl Trace,
    ) -> Result<Located<'a, 'r>, Stop> {
        let path = head.path()?;
        self.metadata(head, path, record)?;
        let Some(found) = self.find(head, path, route) else {
            self.preflight(head, path, record)?;
            return Ok(Located::Open(None));
        };
        record.route = Some(found.route.name.clone());
        trace.hear(|| Step::Route(found.index, found.deployment.map(str::to_owned)));
        match found.route.access {
            Access::Granted { .. } | Access::Health => Ok(Located::Checked(found)),
            Access::Public => {
                record.reason = "public";
                Ok(Located::Open(Some(&found.route.pass)))
            }
        }
    }

    /// Finds the route of a request, once: a request that waits is matched with the same one again.
    pub(super) fn find<'a, 'r>(
        &'a self,
        head: &'r Head,
        path: &'r str,
        route: &mut Option<RouteIndex>,
    ) -> Option<Match<'a, 'r>> {
        let found = match *route {
            Some(index) => self.routes.matched(index, path),
            None => self.routes.find(head.method(), head.host(), path),
        };
        *route = found.map(|found| found.index);
        found
    }

    /// Answers a client that asks who issues tokens (RFC 9728 §3).
    fn metadata(&self, head: &Head, path: &str, record: &mut Record) -> Result<(), Stop> {
        match &self.resource {
            Some(resource) if resource.path == path && matches!(head.method(), "GET" | "HEAD") => {
                record.reason = "metadata";
                Err(Stop::Respond(Reply::json(200, resource.metadata.clone())))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Lets a CORS preflight go on to the backend, without any credential: a browser sends none.
    fn preflight(&self, head: &Head, path: &str, record: &mut Record) -> Result<(), Denial> {
        let asked = head.preflight();
        let found = asked.and_then(|method| self.routes.find(method, head.host(), path));
        let found = found.filter(|found| found.route.cors).ok_or_else(|| Denial::RouteUnknown {
            nearest: self.routes.nearest(head.host(), path),
        })?;
        record.route = Some(found.route.name.clone());
        record.reason = PREFLIGHT;
        Ok(())
    }
}

/// Takes the one credential out of where the route lets it stand.
fn credential<'a>(
    head: &'a Head,
    places: &[CredentialPlace],
    trace: &mut impl Trace,
) -> Result<&'a [u8], Denial> {
    let credential = bearer::credential_in(head, places);
    trace.hear(|| Step::Credential(credential.clone().and_then(bearer::token).map(|_| ())));
    credential
}

/// Returns what is known of the deployment, from where the route has it read.
fn deployment<'r>(
    found: &Match<'_, 'r>,
    head: &'r Head,
    body: &'r Body,
) -> Result<Deployment<'r>, Denial> {
    Ok(match found.route.deployment {
        DeploymentPlace::Body => body.deployment(),
        DeploymentPlace::Path => found.deployment.into(),
        DeploymentPlace::Query => head.deployment_in_query()?.into(),
    })
}

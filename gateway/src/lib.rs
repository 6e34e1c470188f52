//! Runs a real Envoy on the shipped `envoy.yaml`, with its endpoints swapped for loopback.
//!
//! A [`Blueprint`] is the shipped file and where its clusters lead on this machine; a [`Gateway`]
//! is an Envoy that runs on it. Endpoints and transport are all that differs between the two, so
//! what ships is what is tested. The Envoy is the one that the environment variable `ENVOY` names;
//! `make` installs it and sets the variable.

mod blueprint;
mod process;
mod run;

pub use blueprint::{Blueprint, BlueprintError, Host};
pub use run::{Gateway, GatewayError, StartOptions, dynamic_module};

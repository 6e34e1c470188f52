//! Counters and gauges, with the names and labels of the Wasm filter's.
//!
//! Envoy defines them while the configuration is made, and takes the labels with each number. Labels
//! come from the configuration and from fixed lists, so their number is bounded.

use keyless_core::exchange::Refused;
use keyless_core::metrics::{ALL, Kind, Meter, Metric};

use crate::abi::{Counter, Gauge, Proxy, Stream};

/// Holds the numbers that Envoy gave the metrics of one configuration, by their names.
#[derive(Debug)]
pub(crate) struct Metrics(Vec<(&'static str, Number)>);

/// Counts while Envoy calls a hook of a stream.
#[derive(Debug)]
pub(crate) struct StreamMeter<'hook> {
    metrics: &'hook Metrics,
    stream: &'hook Stream<'hook>,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Counter(Counter),
    Gauge(Gauge),
}

impl Metrics {
    pub(crate) fn define(proxy: &Proxy<'_>) -> Result<Self, Refused> {
        let number = |Metric { name, kind, labels, .. }: &Metric| {
            let number = match kind {
                Kind::Counter => Number::Counter(proxy.define_counter(name, labels)?),
                Kind::Gauge => Number::Gauge(proxy.define_gauge(name, labels)?),
            };
            Ok((*name, number))
        };
        Ok(Self(ALL.iter().map(number).collect::<Result<_, _>>()?))
    }

    /// Counts with this stream: Envoy 1.38 counts only where there is one.
    pub(crate) fn with<'hook>(&'hook self, stream: &'hook Stream<'hook>) -> StreamMeter<'hook> {
        StreamMeter { metrics: self, stream }
    }

    fn number(&self, metric: &Metric) -> Option<Number> {
        self.0.iter().find(|(name, _)| *name == metric.name).map(|(_, number)| *number)
    }
}

impl Meter for StreamMeter<'_> {
    fn add(&mut self, metric: &Metric, labels: &[&str], count: u64) {
        if count > 0
            && let Some(Number::Counter(counter)) = self.metrics.number(metric)
        {
            self.stream.count(counter, labels, count);
        }
    }

    fn set(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        if let Some(Number::Gauge(gauge)) = self.metrics.number(metric) {
            self.stream.gauge(gauge, labels, value);
        }
    }
}

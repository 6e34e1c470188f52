//! What tokens cost, by deployment.

use std::collections::BTreeMap;

use super::document::PriceEntry;
use super::entry::Entry;
use super::scalars::{self, Label, Scalar as _, Text};
use super::{Error, Errors};
use crate::price::{Price, Prices};

/// Converts `prices`; a part without a price of its own has that of the whole.
pub(super) fn prices(entries: BTreeMap<String, Entry<PriceEntry>>, errors: &mut Errors) -> Prices {
    let mut prices = Vec::new();
    for (deployment, entry) in entries {
        let path = format!("prices.{deployment}");
        if !scalars::is_label(&deployment) {
            errors.add(Error::new(&path, Label::EXPECTED, format_args!("the name {deployment:?}")));
        }
        prices.extend(entry.read(&path, errors).map(|entry| (deployment, price(entry))));
    }
    Prices::new(prices)
}

fn price(entry: PriceEntry) -> Price {
    let PriceEntry { input: Text(input), output: Text(output), .. } = entry;
    let or = |part: Option<Text<_>>, whole| part.map_or(whole, |Text(price)| price);
    Price {
        input,
        cached_input: or(entry.cached_input, input),
        cache_write: or(entry.cache_write, input),
        audio_input: or(entry.audio_input, input),
        output,
        audio_output: or(entry.audio_output, output),
    }
}

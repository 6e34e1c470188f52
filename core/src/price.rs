//! What tokens cost, exactly: whole numbers, and no rounding before the sum.

use std::collections::BTreeMap;
use std::fmt;

use crate::usage::Usage;

/// Holds the price of one token, in millionths of a millionth of a currency unit.
///
/// It is written as a decimal number of currency units for a million tokens, with up to six digits
/// after the point; so each digit counts, and none is lost.
///
/// ```
/// # use keyless_core::price::TokenPrice;
/// assert_eq!(TokenPrice::parse("2.50").unwrap().pico_units(), 2_500_000);
/// assert_eq!(TokenPrice::parse("0.000001").unwrap().pico_units(), 1);
/// for text in ["", "2,5", "-1", ".5", "1.", "1e3", "0.0000001", "10000000"] {
///     assert_eq!(TokenPrice::parse(text), None, "{text}");
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TokenPrice(u64);

/// Holds an amount of money, in millionths of a millionth of a currency unit.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cost(u128);

/// Holds what the tokens of one deployment cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Price {
    /// Tokens of the request that no other price is for.
    pub input: TokenPrice,
    /// Tokens of the request that the backend had in its cache.
    pub cached_input: TokenPrice,
    /// Tokens of the request that the backend wrote to its cache.
    pub cache_write: TokenPrice,
    /// Tokens of the request that are audio.
    pub audio_input: TokenPrice,
    /// Tokens of the answer that no other price is for; those used to think are among them.
    pub output: TokenPrice,
    /// Tokens of the answer that are audio.
    pub audio_output: TokenPrice,
}

/// Holds the price of each deployment that has one, by its name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Prices(BTreeMap<String, Price>);

/// Digits of a price before the point: a million currency units less one, for a million tokens.
const WHOLE_DIGITS: usize = 7;

/// Digits of a price after the point.
const DECIMALS: usize = 6;

const MICRO_UNIT: u128 = 1_000_000;

/// Digits of an amount before the point, and after it.
const MAX_DIGITS: usize = 24;
const COST_DECIMALS: usize = 12;

/// Returns the digits of a decimal number as those of a whole one, `decimals` times ten larger.
fn decimal(text: &str, whole_digits: usize, decimals: usize) -> Option<String> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str, most| {
        (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let fits = is_number(whole, whole_digits) && is_number(rest, decimals);
    fits.then(|| format!("{whole}{rest:0<decimals$}"))
}

impl TokenPrice {
    /// Reads a decimal number of currency units for a million tokens, below ten million and with up to six
    /// digits after the point.
    pub fn parse(text: &str) -> Option<Self> {
        decimal(text, WHOLE_DIGITS, DECIMALS)?.parse().ok().map(Self)
    }

    /// Returns the price of one token, in millionths of a millionth of a currency unit.
    pub fn pico_units(self) -> u64 {
        self.0
    }

    fn of(self, tokens: u64) -> u128 {
        u128::from(self.0).saturating_mul(u128::from(tokens))
    }
}

impl Cost {
    /// Makes an amount from millionths of a millionth of a currency unit.
    pub fn from_pico_units(pico_units: u128) -> Self {
        Self(pico_units)
    }

    /// Reads an amount of currency units, with up to twelve digits after the point.
    ///
    /// ```
    /// # use keyless_core::price::Cost;
    /// let cost = Cost::parse("1.5").unwrap();
    /// assert_eq!(cost, Cost::from_pico_units(1_500_000_000_000));
    /// assert_eq!(Cost::parse(&cost.to_string()), Some(cost));
    /// assert_eq!(Cost::parse("1.0000000000001"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        decimal(text, MAX_DIGITS, COST_DECIMALS)?.parse().ok().map(Self)
    }

    /// Returns the amount, in millionths of a millionth of a currency unit.
    pub fn pico_units(self) -> u128 {
        self.0
    }

    /// Returns both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Takes out the whole millionths of a currency unit and leaves the rest, so that the sum of
    /// many amounts loses nothing.
    pub fn take_micro_units(&mut self) -> u64 {
        let whole = self.0.checked_div(MICRO_UNIT).unwrap_or_default();
        self.0 = self.0.checked_rem(MICRO_UNIT).unwrap_or_default();
        u64::try_from(whole).unwrap_or(u64::MAX)
    }
}

/// Shows the amount in currency units, with all twelve digits after the point.
impl fmt::Display for Cost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = MICRO_UNIT.saturating_mul(MICRO_UNIT);
        let whole = self.0.checked_div(unit).unwrap_or_default();
        let rest = self.0.checked_rem(unit).unwrap_or_default();
        write!(formatter, "{whole}.{rest:012}")
    }
}

impl Price {
    /// Returns what a request cost. A part that is larger than its whole counts as the whole.
    pub fn cost(&self, usage: &Usage) -> Cost {
        let mut input = usage.input;
        let mut take = |part: u64| {
            let part = part.min(input);
            input = input.saturating_sub(part);
            part
        };
        let cached = take(usage.cached);
        let written = take(usage.cache_write);
        let audio = take(usage.audio_input);
        let audio_output = usage.audio_output.min(usage.output);
        let output = usage.output.saturating_sub(audio_output);
        let parts = [
            self.input.of(input),
            self.cached_input.of(cached),
            self.cache_write.of(written),
            self.audio_input.of(audio),
            self.output.of(output),
            self.audio_output.of(audio_output),
        ];
        Cost(parts.into_iter().fold(0, u128::saturating_add))
    }
}

impl Prices {
    /// Makes a table of the price of each deployment.
    pub fn new(prices: impl IntoIterator<Item = (String, Price)>) -> Self {
        Self(prices.into_iter().collect())
    }

    /// Returns the price of a deployment, if it has one.
    pub fn of(&self, deployment: &str) -> Option<&Price> {
        self.0.get(deployment)
    }

    /// Returns the deployments that have a price.
    pub fn deployments(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_price(text: &str) -> TokenPrice {
        TokenPrice::parse(text).unwrap()
    }

    fn price() -> Price {
        Price {
            input: token_price("2.50"),
            cached_input: token_price("1.25"),
            cache_write: token_price("3.125"),
            audio_input: token_price("40"),
            output: token_price("10.00"),
            audio_output: token_price("80"),
        }
    }

    #[test]
    fn each_part_has_its_price_and_is_taken_out_of_the_whole() {
        let usage = Usage {
            input: 1000,
            output: 500,
            cached: 400,
            cache_write: 100,
            audio_input: 50,
            reasoning: 300,
            audio_output: 20,
        };
        let expected = 450 * 2_500_000 + 400 * 1_250_000 + 100 * 3_125_000 + 50 * 40_000_000;
        let expected = expected + 480 * 10_000_000 + 20 * 80_000_000;
        assert_eq!(price().cost(&usage), Cost(expected));
    }

    #[test]
    fn a_part_larger_than_its_whole_counts_as_the_whole() {
        let usage =
            Usage { input: 10, cached: 1000, output: 1, audio_output: 9, ..Usage::default() };
        assert_eq!(price().cost(&usage), Cost(10 * 1_250_000 + 80_000_000));
        let most = Usage { input: u64::MAX, output: u64::MAX, ..Usage::default() };
        assert_eq!(price().cost(&most), Cost(u128::from(u64::MAX) * 12_500_000));
    }

    #[test]
    fn the_sum_of_a_million_requests_is_exact_to_the_micro_unit() {
        let mut carried = Cost::default();
        let (mut counter, mut exact) = (0_u64, 0_u128);
        for number in 0..1_000_000_u64 {
            let usage = Usage {
                input: number % 977,
                cached: number % 13,
                output: number % 331,
                ..Usage::default()
            };
            let cost = price().cost(&usage);
            exact += cost.pico_units();
            carried = carried.plus(cost);
            counter += carried.take_micro_units();
        }
        assert_eq!(u128::from(counter), exact / 1_000_000);
        assert!(carried.pico_units() < 1_000_000);
        assert_eq!(u128::from(counter) * 1_000_000 + carried.pico_units(), exact);
    }

    #[test]
    fn an_amount_is_shown_with_every_digit() {
        assert_eq!(Cost(1).to_string(), "0.000000000001");
        assert_eq!(Cost(12_345_678_901_234).to_string(), "12.345678901234");
        assert_eq!(Cost(0).to_string(), "0.000000000000");
    }

    #[test]
    fn a_deployment_without_a_price_has_none() {
        let prices = Prices::new([("gpt-4o".to_owned(), price())]);
        assert_eq!(prices.of("gpt-4o"), Some(&price()));
        assert_eq!(prices.of("GPT-4o"), None);
        assert_eq!(prices.deployments().collect::<Vec<_>>(), ["gpt-4o"]);
    }
}

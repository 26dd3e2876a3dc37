//! TOML values as numbers, text, sizes and choices, and how a problem shows what it allows.
//! Layer: config. Pure functions.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::error::Fault;
use super::quantity::{Probability, format_size, parse_percent, parse_size};

/// A string.
///
/// # Errors
///
/// `WrongType` unless the value is a string.
pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Fault> {
    value.as_str().ok_or_else(|| wrong_type(value))
}

/// A string, or a number as if it were written as a string.
///
/// # Errors
///
/// `WrongType` for anything else, `OutOfRange` for a number below zero.
pub(super) fn text_or_number<'v>(value: &'v DeValue<'_>) -> Result<Cow<'v, str>, Fault> {
    match value {
        DeValue::Integer(_) => match number(value)? {
            number if number < 0 => Err(Fault::OutOfRange),
            number => Ok(Cow::Owned(number.to_string())),
        },
        _ => text(value).map(Cow::Borrowed),
    }
}

/// The one of `choices` that the value names.
///
/// # Errors
///
/// `WrongType` unless the value is a string, `UnknownChoice` when none has this name.
pub(super) fn choice<T: Copy>(value: &DeValue<'_>, choices: &[(&str, T)]) -> Result<T, Fault> {
    let name = text(value)?;
    let found = choices.iter().find(|(choice, _)| *choice == name);
    found.map(|(_, choice)| *choice).ok_or(Fault::UnknownChoice)
}

/// The names of `choices`, as a problem lists them.
pub(super) fn choice_names<T>(choices: &[(&str, T)]) -> String {
    let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
    names.join(", ")
}

/// A range of sizes, as a problem shows it.
pub(super) fn size_range(range: &RangeInclusive<usize>) -> String {
    format!("{} to {}", format_size(*range.start() as u64), format_size(*range.end() as u64))
}

/// A number of bytes, or text with a unit.
///
/// # Errors
///
/// `WrongType` or `NotA` for anything else, `OutOfRange` for a size outside `range`.
pub(super) fn size(value: &DeValue<'_>, range: &RangeInclusive<usize>) -> Result<usize, Fault> {
    match value {
        DeValue::Integer(_) => within(usize::try_from(number(value)?), range),
        _ => within(usize::try_from(parse_size(text(value)?)?), range),
    }
}

/// A fraction, or text with `%`.
///
/// # Errors
///
/// `WrongType` or `NotA` for anything else, `OutOfRange` unless it is between 0 and 1.
pub(super) fn probability(value: &DeValue<'_>) -> Result<Probability, Fault> {
    let fraction = match value {
        DeValue::String(text) => return parse_percent(text),
        DeValue::Float(float) => float.as_str().parse().map_err(|_| Fault::OutOfRange)?,
        // Only 0 and 1 are in range, and no other integer becomes one of them.
        _ => f64::from(i32::try_from(number(value)?).map_err(|_| Fault::OutOfRange)?),
    };
    Probability::from_fraction(fraction)
}

/// An integer of any notation that TOML has.
///
/// # Errors
///
/// `WrongType` unless the value is an integer, `OutOfRange` beyond 128 bits.
pub(super) fn number(value: &DeValue<'_>) -> Result<i128, Fault> {
    let integer = value.as_integer().ok_or_else(|| wrong_type(value))?;
    i128::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| Fault::OutOfRange)
}

/// # Errors
///
/// `OutOfRange` for a value outside `range`, or one that did not even fit its type.
pub(super) fn within<T: PartialOrd, E>(
    value: Result<T, E>,
    range: &RangeInclusive<T>,
) -> Result<T, Fault> {
    value.ok().filter(|value| range.contains(value)).ok_or(Fault::OutOfRange)
}

pub(super) fn wrong_type(value: &DeValue<'_>) -> Fault {
    let found = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    Fault::WrongType { found }
}

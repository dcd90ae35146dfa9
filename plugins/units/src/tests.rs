use super::*;

fn answer(value: &str, from: &str, to: &str) -> String {
    convert(value, from, to).unwrap_or_else(|message| format!("error: {message}"))
}

/// Only the number of an answer.
fn number(value: &str, from: &str, to: &str) -> String {
    let answer = answer(value, from, to);
    let (_, right) = answer.split_once(" = ").unwrap_or(("", &answer));
    right.strip_suffix(to).unwrap_or(right).trim_end().to_owned()
}

#[test]
fn common_spellings_are_known() {
    for (name, canonical) in [
        ("kgs", "kg"),
        ("kms", "km"),
        ("kilos", "kg"),
        ("yds", "yd"),
        ("secs", "s"),
        ("mins", "min"),
        ("hrs", "h"),
        ("sq ft", "ft2"),
        ("mi/h", "mph"),
        ("centigrade", "celsius"),
        ("lbs", "lb"),
        ("kph", "km/h"),
    ] {
        assert_eq!(answer("1", name, canonical), format!("1 {name} = 1 {canonical}"));
    }
}

#[test]
fn answer_repeats_the_words_as_given() {
    assert_eq!(answer("12", "km", "miles"), "12 km = 7.456454 miles");
    assert_eq!(answer("1e3", "Meters", "KM"), "1e3 Meters = 1 KM");
}

#[test]
fn factors_are_the_defined_ones() {
    for (value, from, to, expected) in [
        ("1", "in", "cm", "2.54"),
        ("6", "feet", "m", "1.8288"),
        ("26.2", "miles", "km", "42.164813"),
        ("1", "nmi", "km", "1.852"),
        ("150", "pounds", "kg", "68.038856"),
        ("1", "stone", "lbs", "14"),
        ("1", "kg", "oz", "35.273962"),
        ("2.5", "tonnes", "kg", "2500"),
        ("1", "gallon", "litres", "3.785412"),
        ("1", "cup", "ml", "236.588237"),
        ("3", "tsp", "tbsp", "1"),
        ("8", "fl oz", "cups", "1"),
        ("1", "acre", "square feet", "43560"),
        ("1", "hectare", "acres", "2.471054"),
        ("1", "sq m", "sq ft", "10.76391"),
        ("1", "m²", "cm^2", "10000"),
        ("1", "km2", "m2", "1000000"),
        ("1", "cubic meter", "l", "1000"),
        ("1", "cubic inch", "cm3", "16.387064"),
        ("100", "km/h", "mph", "62.137119"),
        ("10", "m/s", "kilometers per hour", "36"),
        ("1", "knot", "km/h", "1.852"),
        ("2", "weeks", "days", "14"),
        ("1", "year", "hours", "8760"),
        ("90", "min", "hours", "1.5"),
        ("1", "GiB", "MB", "1073.741824"),
        ("1", "TB", "TiB", "0.909495"),
        ("100", "Mbit/s", "MB/s", "12.5"),
        ("1", "Gb", "GB", "0.125"),
        ("500", "kcal", "kJ", "2092"),
        ("1", "kWh", "MJ", "3.6"),
        ("1", "hp", "W", "745.699872"),
        ("32", "psi", "bar", "2.206322"),
        ("1", "atm", "kPa", "101.325"),
        ("180", "degrees", "rad", "3.141593"),
        ("1", "rad", "deg", "57.29578"),
        ("100", "grad", "deg", "90"),
    ] {
        assert_eq!(number(value, from, to), expected, "{value} {from} to {to}");
    }
}

#[test]
fn temperatures_have_an_offset() {
    for (value, from, to, expected) in [
        ("100", "°C", "°F", "212"),
        ("-40", "celsius", "F", "-40"),
        ("98.6", "degrees fahrenheit", "degrees C", "37"),
        ("0", "K", "c", "-273.15"),
        ("451", "F", "C", "232.777778"),
        ("25", "degC", "kelvin", "298.15"),
    ] {
        assert_eq!(number(value, from, to), expected, "{value} {from} to {to}");
    }
    assert_eq!(answer("-300", "C", "F"), "error: -300 C is below absolute zero");
}

#[test]
fn small_results_keep_six_significant_digits() {
    assert_eq!(number("1", "mm", "miles"), "0.000000621371");
    assert_eq!(number("1", "g", "t"), "0.000001");
    assert_eq!(number("1", "nm", "km"), "0.000000000001");
    assert_eq!(number("0", "nm", "km"), "0");
    assert_eq!(number("0.0025", "m", "m"), "0.0025");
    assert_eq!(number("0.00099999951", "m", "m"), "0.001");
}

#[test]
fn halves_are_rounded_away_from_zero() {
    assert_eq!(number("0.0000005", "m", "m"), "0.0000005");
    assert_eq!(number("1.0000005", "m", "m"), "1.000001");
    assert_eq!(number("-1.0000005", "m", "m"), "-1.000001");
    assert_eq!(number("9.9999999", "m", "m"), "10");
    assert_eq!(number("-0.0000000", "m", "m"), "0");
}

#[test]
fn number_is_read_as_decimal_text() {
    let mut tool = Units::init("{}").unwrap();
    let mut call = |json: &str| tool.call("convert_units", json).to_text();
    assert_eq!(call(r#"{"value": 0.1, "from": "km", "to": "m"}"#), "0.1 km = 100 m");
    assert_eq!(call(r#"{"value": "12.50", "from": "km", "to": "m"}"#), "12.50 km = 12500 m");
    assert_eq!(
        call(r#"{"value": 123456789012345678, "from": "m", "to": "mm"}"#),
        "123456789012345678 m = 123456789012345678000 mm"
    );
    assert!(call(r#"{"value": "twelve", "from": "km", "to": "m"}"#).starts_with("error: \"twelve\" is not a number"));
    assert_eq!(call(r#"{"value": 1, "from": "km"}"#), "error: missing argument \"to\"");
}

#[test]
fn unknown_unit_is_answered_with_the_known_ones() {
    let message = answer("1", "km", "flurb");
    assert!(message.starts_with("error: unknown unit \"flurb\"; known lengths are m, km, dm, cm, mm"), "{message}");
    let message = answer("1", "flurb", "kg");
    assert!(message.starts_with("error: unknown unit \"flurb\"; known masses are g, kg"), "{message}");
    let message = answer("1", "flurb", "blarb");
    assert!(message.starts_with("error: unknown unit \"flurb\"; this tool knows lengths, areas"), "{message}");
}

#[test]
fn dimensions_are_not_mixed() {
    assert_eq!(answer("1", "km", "kg"), "error: cannot convert a length (\"km\") to a mass (\"kg\")");
    assert_eq!(answer("1", "acres", "kWh"), "error: cannot convert an area (\"acres\") to an energy (\"kWh\")");
    assert_eq!(answer("1", "deg", "C"), "error: cannot convert an angle (\"deg\") to a temperature (\"C\")");
}

#[test]
fn a_result_that_does_not_fit_is_an_error() {
    for value in ["1e31", "1e-31", "1234567890123456789", "", ".", "1e", "--1", "1,000", "NaN", "1e99999999999"] {
        assert!(answer(value, "km", "m").contains("is not a number"), "{value}");
    }
    assert!(answer("1e30", "ly", "nm").contains("out of range"));
}

#[test]
fn every_name_of_the_table_finds_its_own_unit() {
    for unit in table::UNITS {
        for name in unit.names {
            let found = lookup::resolve(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(found.dimension, unit.dimension, "{name}");
            let one = Rational::new(1, 1).unwrap();
            let (n, d) = unit.factor;
            let factor = Rational::new(n.into(), d.into()).unwrap();
            let offset = Rational::new(unit.offset.0.into(), unit.offset.1.into()).unwrap();
            assert_eq!(found.to_base(one), one.add(offset).and_then(|sum| sum.multiply(factor)), "{name}");
        }
    }
}

/// A small generator (xorshift64*), so that the cases are the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}

#[test]
fn no_words_panic() {
    const PARTS: [&str; 30] = [
        "k", "m", "2", "3", "s", "sq ", "square ", "cubic ", "cu ", "/", " per ", "°", "deg", "degrees ", "C", "F",
        "é", "²", "³", "^", ".", " ", "h", "ft", "mi", "hours", "MB", "ly", "µ", "-",
    ];
    const VALUES: [&str; 8] =
        ["1", "-273.15", "1e30", "-1e-30", "999999999999999999", "0.000000000000000001", "é", "1e"];
    let mut random = Random(7);
    let mut answers = 0;
    let word =
        |random: &mut Random| (0..random.below(3) + 1).map(|_| PARTS[random.below(PARTS.len())]).collect::<String>();
    for _ in 0..20_000 {
        let (from, to) = (word(&mut random), word(&mut random));
        answers += usize::from(convert(VALUES[random.below(VALUES.len())], &from, &to).is_ok());
    }
    assert!(answers > 20, "only {answers} of the random words could be converted");
}

use super::*;
use crate::number::{DIGITS_MAX, FACTORIAL_MAX};

fn value(expression: &str) -> String {
    evaluate(expression).unwrap_or_else(|message| format!("error: {message}"))
}

fn check(cases: &[(&str, &str)]) {
    for (expression, expected) in cases {
        assert_eq!(value(expression), *expected, "{expression}");
    }
}

#[test]
fn arithmetic_is_exact() {
    check(&[
        ("1234 * 87", "107358"),
        ("0.1 + 0.2", "0.3"),
        ("1/8", "0.125"),
        ("10/4", "2.5"),
        ("1 - 0.9", "0.1"),
        ("2^100", "1267650600228229401496703205376"),
        (
            "123456789012345678901234567890 * 987654321098765432109876543210",
            "121932631137021795226185032733622923332237463801111263526900",
        ),
        ("25!", "15511210043330985984000000"),
        ("(1/3 + 1/6) * 2", "1"),
        ("1.5e3 + .5", "1500.5"),
        ("2e-3", "0.002"),
    ]);
}

#[test]
fn fraction_without_end_is_rounded_and_given_exactly() {
    check(&[
        ("1000/3", "333.3333333333 (exactly 1000/3)"),
        ("2/3", "0.6666666667 (exactly 2/3)"),
        ("-2/3", "-0.6666666667 (exactly -2/3)"),
        ("1/30000000000000", "0.0000000000 (exactly 1/30000000000000)"),
    ]);
}

#[test]
fn precedence_is_that_of_written_mathematics() {
    check(&[
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("-2^2", "-4"),
        ("(-2)^2", "4"),
        ("2^3^2", "512"),
        ("2^-2", "0.25"),
        ("8 / 4 / 2", "1"),
        ("8 - 4 - 2", "2"),
        ("-3!", "-6"),
        ("3!!", "720"),
        ("2 * -3", "-6"),
        ("--2", "2"),
        ("1 - -1", "2"),
        ("2^3!", "64"),
    ]);
}

#[test]
fn remainder_has_the_divisors_sign() {
    check(&[("7 % 3", "1"), ("-7 % 3", "2"), ("7 % (-3)", "-2"), ("7.5 % 2", "1.5"), ("10 % 5", "0")]);
    assert!(value("15%").starts_with("error: \"%\" is the remainder"));
    assert!(value("10% - 3").starts_with("error: \"%\" is the remainder"));
}

#[test]
fn an_inexact_square_root_is_marked_as_rounded() {
    check(&[
        ("sqrt(144)", "12"),
        ("sqrt(9/16)", "0.75"),
        ("sqrt(0)", "0"),
        ("sqrt(2)", "1.4142135624 (rounded)"),
        ("sqrt(2)^2", "2 (rounded)"),
        ("sqrt(2) * sqrt(2)", "2 (rounded)"),
        ("1 / sqrt(2)", "0.7071067812 (rounded)"),
        ("sqrt(sqrt(2))", "1.189207115 (rounded)"),
        ("sqrt(2) - sqrt(2)", "0 (rounded)"),
        ("sqrt(2) * 10^20", "141421356237309504880.168872421 (rounded)"),
        ("floor(sqrt(2))", "1"),
        ("floor(sqrt(2)^2)", "error: floor cannot tell on which side of 2 a rounded number lies"),
        ("round(1 / sqrt(4))", "1"),
        ("max(sqrt(2), 1.5)", "1.5"),
        ("sqrt(-1)", "error: the square root of a negative number is not real"),
    ]);
}

#[test]
fn lost_precision_is_an_error_and_not_a_number() {
    for expression in ["sqrt(2) * 10^90", "1 / (sqrt(2) - sqrt(2))", "(sqrt(2) + 10^10)^20"] {
        assert!(value(expression).starts_with("error: too much precision is lost"), "{expression}");
    }
}

#[test]
fn functions_take_lists() {
    check(&[
        ("gcd(12, 18)", "6"),
        ("gcd(12,18,8)", "2"),
        ("gcd(0, 0)", "0"),
        ("lcm(4, 6, 10)", "60"),
        ("min(3, -1, 2)", "-1"),
        ("max(1,234)", "234"),
        ("max((1,234), 5)", "1234"),
        ("abs(-3.5)", "3.5"),
        ("ROUND(2.5) + floor(-0.5) + ceil(0.2)", "3"),
        ("gcd(1.5, 2)", "error: each argument of gcd must be a whole number"),
        ("sqrt(1, 2)", "error: sqrt takes one argument, not 2"),
        ("min()", "error: unexpected \")\" at position 5"),
        ("sqrt 4", "error: sqrt needs its arguments in parentheses"),
    ]);
}

#[test]
fn common_spellings_are_accepted() {
    check(&[
        ("6 × 7", "42"),
        ("84 ÷ 2", "42"),
        ("50 − 8", "42"),
        ("2 ** 10", "1024"),
        ("1,234 + 1", "1235"),
        ("1,234,567.5", "1234567.5"),
        ("1_000_000", "1000000"),
    ]);
}

#[test]
fn comma_that_is_not_for_thousands_is_refused() {
    for (expression, position) in [("1,23", 2), ("1,2345", 2), ("1234,567", 5), ("0,123", 2), ("1.5,234", 4)] {
        assert_eq!(value(expression), format!("error: unexpected \",\" at position {position}"), "{expression}");
    }
}

#[test]
fn an_error_names_the_position() {
    check(&[
        ("1/0", "error: division by zero"),
        ("5 % 0", "error: division by zero"),
        ("0^-1", "error: division by zero"),
        ("0^0", "1"),
        ("3 x 4", "error: unexpected \"x\" at position 3"),
        ("2 + foo(3)", "error: unexpected \"foo\" at position 5"),
        ("(1 + 2", "error: unexpected end of the expression"),
        ("1 + 2)", "error: unexpected \")\" at position 6"),
        ("2(3)", "error: unexpected \"(\" at position 2"),
        ("1 + * 2", "error: unexpected \"*\" at position 5"),
        ("7 € 2", "error: unexpected \"€\" at position 3"),
        ("1 2", "error: unexpected \"2\" at position 3"),
        ("", "error: the expression is empty"),
        ("2^0.5", "error: the exponent must be a whole number"),
        ("2.5!", "error: the operand of \"!\" must be a whole number"),
        ("(-1)!", "error: the factorial of a negative number is not defined"),
        ("1..2", "error: unexpected \".\" at position 2"),
    ]);
}

#[test]
fn size_is_bounded_before_computing() {
    let too_large = format!("error: the result is too large: more than {DIGITS_MAX} digits");
    for expression in ["10^1000000000000", "9^9^9", "(2^60000)*(2^60000)", "1e999999999999999999999", "(1/7)^100000"] {
        assert_eq!(value(expression), too_large, "{expression}");
    }
    assert_eq!(value("1000000!"), format!("error: the factorial is too large, the largest is {FACTORIAL_MAX}!"));
    assert_eq!(value("1^99999999999999999999999"), "1");
    assert_eq!(value("(-1)^99999999999999999999999"), "-1");
    assert!(value(&format!("{FACTORIAL_MAX}!")).len() < DIGITS_MAX);
}

#[test]
fn work_is_bounded() {
    let sum = |part: &str, times: usize| value(&vec![part; times].join("+"));
    assert_eq!(sum("5900!", 1_000), "error: the expression has too many large parts");
    assert_eq!(sum("1e19000", 1_000), "error: the expression has too many large parts");
    assert!(!sum("5900!", 3).starts_with("error"));
    assert!(!sum("200!", 1_000).starts_with("error"));
}

#[test]
fn depth_and_length_are_bounded() {
    for (open, close) in [("(", ")"), ("-", ""), ("abs(", ")"), ("2^", "")] {
        let deep = |n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
        assert!(!value(&deep(100)).contains("nested"), "{open}");
        assert_eq!(value(&deep(101)), "error: the expression is nested more than 100 deep", "{open}");
    }
    assert!(value(&"1+".repeat(6_000)).contains("longer than"));
}

#[test]
fn tool_answers_with_outcomes() {
    let mut tool = Calculator::init("{}").unwrap();
    let outcome = tool.call("calculator", r#"{"expression": "1234 * 87"}"#);
    assert_eq!((outcome.to_text().as_str(), outcome.is_error), ("107358", false));
    let outcome = tool.call("calculator", r#"{"expression": "1/0"}"#);
    assert_eq!((outcome.to_text().as_str(), outcome.is_error), ("error: division by zero", true));
    assert_eq!(tool.call("calculator", "{}").to_text(), "error: missing argument \"expression\"");
    assert!(tool.call("other", "{}").is_error);
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
fn no_expression_panics() {
    const PARTS: [&str; 40] = [
        "0", "1", "2", "7", "12", "345", ".", ",", "_", "e", "E9", "e-3", "+", "-", "*", "/", "%", "^", "!", "(", ")",
        "**", "×", "÷", "−", " ", "sqrt(", "abs(", "floor(", "gcd(", "lcm(", "min(", "max(", "round(", "€", "é", "x",
        "\u{301}", "1,234", "5!",
    ];
    let mut random = Random(7);
    let mut answers = 0;
    for _ in 0..20_000 {
        let expression: String = (0..random.below(9) + 1).map(|_| PARTS[random.below(PARTS.len())]).collect();
        answers += usize::from(evaluate(&expression).is_ok());
    }
    assert!(answers > 500, "only {answers} of the random expressions had a value");
    assert_eq!(value("5€"), "error: unexpected \"€\" at position 2");
}

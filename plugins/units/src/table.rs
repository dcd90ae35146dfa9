//! The units: their dimension, their names, and their exact size in the dimension's base unit.

/// The dimension of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dimension {
    Length,
    Area,
    Volume,
    Mass,
    Temperature,
    Time,
    Speed,
    Data,
    DataRate,
    Energy,
    Power,
    Pressure,
    Angle,
}

impl Dimension {
    pub(crate) const ALL: [Self; 13] = [
        Self::Length,
        Self::Area,
        Self::Volume,
        Self::Mass,
        Self::Temperature,
        Self::Time,
        Self::Speed,
        Self::Data,
        Self::DataRate,
        Self::Energy,
        Self::Power,
        Self::Pressure,
        Self::Angle,
    ];

    /// The name with its article.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Length => "a length",
            Self::Area => "an area",
            Self::Volume => "a volume",
            Self::Mass => "a mass",
            Self::Temperature => "a temperature",
            Self::Time => "a time",
            Self::Speed => "a speed",
            Self::Data => "an amount of data",
            Self::DataRate => "a data rate",
            Self::Energy => "an energy",
            Self::Power => "a power",
            Self::Pressure => "a pressure",
            Self::Angle => "an angle",
        }
    }

    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Length => "lengths",
            Self::Area => "areas",
            Self::Volume => "volumes",
            Self::Mass => "masses",
            Self::Temperature => "temperatures",
            Self::Time => "times",
            Self::Speed => "speeds",
            Self::Data => "amounts of data",
            Self::DataRate => "data rates",
            Self::Energy => "energies",
            Self::Power => "powers",
            Self::Pressure => "pressures",
            Self::Angle => "angles",
        }
    }
}

/// One unit: `base = (value + offset) * factor`.
pub(crate) struct Unit {
    pub(crate) dimension: Dimension,
    /// Errors list the first name. Lower-case words, symbols in their own case.
    pub(crate) names: &'static [&'static str],
    /// Numerator and denominator.
    pub(crate) factor: (i64, i64),
    /// Numerator and denominator.
    pub(crate) offset: (i64, i64),
}

const fn unit(dimension: Dimension, names: &'static [&'static str], numerator: i64, denominator: i64) -> Unit {
    Unit { dimension, names, factor: (numerator, denominator), offset: (0, 1) }
}

/// The first names of a dimension's units.
pub(crate) fn names(dimension: Dimension) -> impl Iterator<Item = &'static str> {
    UNITS.iter().filter(move |unit| unit.dimension == dimension).filter_map(|unit| unit.names.first().copied())
}

const POUND: i64 = 45_359_237;
const GALLON: i64 = 473_176_473;

use Dimension::{Angle, Area, Data, DataRate, Energy, Length, Mass, Power, Pressure, Speed, Temperature, Time, Volume};

/// Sources: the international yard and pound (1959), the US gallon of 231 cubic inches, SI 2019, the thermochemical
/// calorie, the International Table BTU, IEC 80000-13 for binary prefixes.
#[rustfmt::skip]
pub(crate) static UNITS: &[Unit] = &[
    // Metres.
    unit(Length, &["m", "meter", "metre"], 1, 1),
    unit(Length, &["km", "kilometer", "kilometre"], 1_000, 1),
    unit(Length, &["dm", "decimeter", "decimetre"], 1, 10),
    unit(Length, &["cm", "centimeter", "centimetre"], 1, 100),
    unit(Length, &["mm", "millimeter", "millimetre"], 1, 1_000),
    unit(Length, &["µm", "μm", "um", "micrometer", "micrometre", "micron"], 1, 1_000_000),
    unit(Length, &["nm", "nanometer", "nanometre"], 1, 1_000_000_000),
    unit(Length, &["in", "inch", "inche", "\"", "″"], 127, 5_000),
    unit(Length, &["ft", "foot", "feet", "'", "′"], 381, 1_250),
    unit(Length, &["yd", "yard"], 1_143, 1_250),
    unit(Length, &["mi", "mile"], 201_168, 125),
    unit(Length, &["nmi", "nautical mile"], 1_852, 1),
    unit(Length, &["au", "astronomical unit"], 149_597_870_700, 1),
    unit(Length, &["ly", "light year", "light-year", "lightyear"], 9_460_730_472_580_800, 1),
    // Square metres. Squares of lengths need no entry.
    unit(Area, &["m2", "sqm"], 1, 1),
    unit(Area, &["km2", "sqkm"], 1_000_000, 1),
    unit(Area, &["ft2", "sqft"], 145_161, 1_562_500),
    unit(Area, &["acre", "ac"], 40_468_564_224, 10_000_000),
    unit(Area, &["hectare", "ha"], 10_000, 1),
    // Litres. Cubes of lengths need no entry.
    unit(Volume, &["l", "liter", "litre"], 1, 1),
    unit(Volume, &["dl", "deciliter", "decilitre"], 1, 10),
    unit(Volume, &["cl", "centiliter", "centilitre"], 1, 100),
    unit(Volume, &["ml", "milliliter", "millilitre", "cc"], 1, 1_000),
    unit(Volume, &["m3"], 1_000, 1),
    unit(Volume, &["gal", "gallon", "us gallon", "us gal"], GALLON, 125_000_000),
    unit(Volume, &["qt", "quart", "us quart"], GALLON, 500_000_000),
    unit(Volume, &["pt", "pint", "us pint"], GALLON, 1_000_000_000),
    unit(Volume, &["cup", "us cup"], GALLON, 2_000_000_000),
    unit(Volume, &["fl oz", "fluid ounce", "floz", "us fluid ounce"], GALLON, 16_000_000_000),
    unit(Volume, &["tbsp", "tablespoon"], GALLON, 32_000_000_000),
    unit(Volume, &["tsp", "teaspoon"], GALLON, 96_000_000_000),
    unit(Volume, &["imperial gallon", "uk gallon"], 454_609, 100_000),
    unit(Volume, &["imperial pint", "uk pint"], 454_609, 800_000),
    // Grams.
    unit(Mass, &["g", "gram", "gramme"], 1, 1),
    unit(Mass, &["kg", "kilogram", "kilogramme", "kilo"], 1_000, 1),
    unit(Mass, &["mg", "milligram"], 1, 1_000),
    unit(Mass, &["µg", "μg", "ug", "mcg", "microgram"], 1, 1_000_000),
    unit(Mass, &["t", "tonne", "metric ton"], 1_000_000, 1),
    unit(Mass, &["lb", "pound", "lbm"], POUND, 100_000),
    unit(Mass, &["oz", "ounce"], POUND, 1_600_000),
    unit(Mass, &["st", "stone"], POUND * 14, 100_000),
    unit(Mass, &["short ton", "us ton"], POUND * 2_000, 100_000),
    unit(Mass, &["long ton", "imperial ton"], POUND * 2_240, 100_000),
    // Kelvins.
    Unit { dimension: Temperature, names: &["C", "celsius", "centigrade"], factor: (1, 1), offset: (27_315, 100) },
    Unit { dimension: Temperature, names: &["F", "fahrenheit"], factor: (5, 9), offset: (45_967, 100) },
    unit(Temperature, &["K", "kelvin"], 1, 1),
    unit(Temperature, &["rankine"], 5, 9),
    // Seconds.
    unit(Time, &["s", "sec", "second"], 1, 1),
    unit(Time, &["ms", "millisecond", "msec"], 1, 1_000),
    unit(Time, &["µs", "μs", "us", "microsecond"], 1, 1_000_000),
    unit(Time, &["ns", "nanosecond"], 1, 1_000_000_000),
    unit(Time, &["min", "minute"], 60, 1),
    unit(Time, &["h", "hour", "hr"], 3_600, 1),
    unit(Time, &["day", "d"], 86_400, 1),
    unit(Time, &["week", "wk"], 604_800, 1),
    unit(Time, &["year", "yr"], 31_536_000, 1),
    // Metres per second. A length per time needs no entry.
    unit(Speed, &["m/s", "mps"], 1, 1),
    unit(Speed, &["km/h", "kph", "kmh", "kmph"], 5, 18),
    unit(Speed, &["mph"], 1_397, 3_125),
    unit(Speed, &["knot", "kn", "kt"], 463, 900),
    // Bits. In lower case, "mb" is read as megabytes.
    unit(Data, &["B", "byte"], 8, 1),
    unit(Data, &["KB", "kB", "kilobyte"], 8_000, 1),
    unit(Data, &["MB", "megabyte"], 8_000_000, 1),
    unit(Data, &["GB", "gigabyte"], 8_000_000_000, 1),
    unit(Data, &["TB", "terabyte"], 8_000_000_000_000, 1),
    unit(Data, &["PB", "petabyte"], 8_000_000_000_000_000, 1),
    unit(Data, &["KiB", "kibibyte"], 8 << 10, 1),
    unit(Data, &["MiB", "mebibyte"], 8 << 20, 1),
    unit(Data, &["GiB", "gibibyte"], 8 << 30, 1),
    unit(Data, &["TiB", "tebibyte"], 8 << 40, 1),
    unit(Data, &["bit", "b"], 1, 1),
    unit(Data, &["kbit", "Kb", "kb", "kilobit"], 1_000, 1),
    unit(Data, &["Mbit", "Mb", "megabit"], 1_000_000, 1),
    unit(Data, &["Gbit", "Gb", "gigabit"], 1_000_000_000, 1),
    unit(Data, &["Tbit", "Tb", "terabit"], 1_000_000_000_000, 1),
    // Bits per second. Data per time needs no entry.
    unit(DataRate, &["bps"], 1, 1),
    unit(DataRate, &["kbps"], 1_000, 1),
    unit(DataRate, &["Mbps"], 1_000_000, 1),
    unit(DataRate, &["Gbps"], 1_000_000_000, 1),
    unit(DataRate, &["MB/s", "MBps"], 8_000_000, 1),
    // Joules.
    unit(Energy, &["J", "joule"], 1, 1),
    unit(Energy, &["kJ", "kilojoule"], 1_000, 1),
    unit(Energy, &["MJ", "megajoule"], 1_000_000, 1),
    unit(Energy, &["cal", "calorie"], 523, 125),
    unit(Energy, &["kcal", "kilocalorie", "Cal"], 4_184, 1),
    unit(Energy, &["Wh", "watt hour", "watt-hour"], 3_600, 1),
    unit(Energy, &["kWh", "kilowatt hour", "kilowatt-hour"], 3_600_000, 1),
    unit(Energy, &["BTU", "british thermal unit"], 52_752_792_631, 50_000_000),
    // Watts.
    unit(Power, &["W", "watt"], 1, 1),
    unit(Power, &["kW", "kilowatt"], 1_000, 1),
    unit(Power, &["MW", "megawatt"], 1_000_000, 1),
    unit(Power, &["hp", "horsepower"], 37_284_993_579_113_511, 50_000_000_000_000),
    unit(Power, &["PS", "metric horsepower"], 588_399, 800),
    // Pascals.
    unit(Pressure, &["Pa", "pascal"], 1, 1),
    unit(Pressure, &["hPa", "hectopascal", "mbar", "millibar"], 100, 1),
    unit(Pressure, &["kPa", "kilopascal"], 1_000, 1),
    unit(Pressure, &["MPa", "megapascal"], 1_000_000, 1),
    unit(Pressure, &["bar"], 100_000, 1),
    unit(Pressure, &["psi"], 44_482_216_152_605, 6_451_600_000),
    unit(Pressure, &["atm", "atmosphere"], 101_325, 1),
    unit(Pressure, &["mmHg"], 133_322_387_415, 1_000_000_000),
    unit(Pressure, &["torr"], 20_265, 152),
    // Degrees. The radian's factor is 180/pi with pi to 18 digits.
    unit(Angle, &["deg", "degree", "°"], 1, 1),
    unit(Angle, &["rad", "radian"], 4_500_000_000_000_000_000, 78_539_816_339_744_831),
    unit(Angle, &["grad", "gradian", "gon"], 9, 10),
    unit(Angle, &["arcmin", "arcminute"], 1, 60),
    unit(Angle, &["arcsec", "arcsecond"], 1, 3_600),
    unit(Angle, &["turn", "revolution"], 360, 1),
];

"""Unit tables of the reference `convert_units`: exact factors as fractions."""

from fractions import Fraction as F

# pi to 50 decimals: far more than the six decimals that a result shows.
PI = F("3.14159265358979323846264338327950288419716939937511")

# family -> canonical unit -> (factor to the family's base unit, spellings)
FAMILIES = {
    "length": {
        "mm": (F("0.001"), "mm millimeter millimeters millimetre millimetres"),
        "cm": (F("0.01"), "cm centimeter centimeters centimetre centimetres"),
        "m": (F(1), "m meter meters metre metres"),
        "km": (F(1000), "km kilometer kilometers kilometre kilometres kms"),
        "in": (F("0.0254"), "in inch inches"),
        "ft": (F("0.3048"), "ft foot feet"),
        "yd": (F("0.9144"), "yd yard yards yds"),
        "mi": (F("1609.344"), "mi mile miles"),
        "nmi": (F(1852), "nmi|nautical mile|nautical miles"),
    },
    "mass": {
        "mg": (F("0.000001"), "mg milligram milligrams"),
        "g": (F("0.001"), "g gram grams"),
        "kg": (F(1), "kg kilogram kilograms kilo kilos kgs"),
        "t": (F(1000), "t|tonne|tonnes|metric ton|metric tons"),
        "oz": (F("0.028349523125"), "oz ounce ounces"),
        "lb": (F("0.45359237"), "lb lbs pound pounds"),
        "st": (F("6.35029318"), "st stone stones"),
        "ton": (F("907.18474"), "ton|tons|short ton|short tons"),
    },
    "volume": {
        "ml": (F("0.001"), "ml milliliter milliliters millilitre millilitres"),
        "l": (F(1), "l liter liters litre litres"),
        "cl": (F("0.01"), "cl centiliter centiliters centilitre centilitres"),
        "m3": (F(1000), "m3|cubic meter|cubic meters|cubic metre|cubic metres"),
        "tsp": (F("0.00492892159375"), "tsp teaspoon teaspoons"),
        "tbsp": (F("0.01478676478125"), "tbsp tablespoon tablespoons"),
        "floz": (F("0.0295735295625"), "fl oz|fluid ounce|fluid ounces"),
        "cup": (F("0.2365882365"), "cup cups"),
        "pt": (F("0.473176473"), "pt pint pints"),
        "qt": (F("0.946352946"), "qt quart quarts"),
        "gal": (F("3.785411784"), "gal gallon gallons"),
    },
    "time": {
        "ms": (F("0.001"), "ms millisecond milliseconds"),
        "s": (F(1), "s sec secs second seconds"),
        "min": (F(60), "min mins minute minutes"),
        "h": (F(3600), "h hr hrs hour hours"),
        "d": (F(86400), "d day days"),
        "wk": (F(604800), "wk week weeks"),
        "yr": (F(31557600), "yr year years"),
    },
    "speed": {
        "m/s": (F(1), "m/s|meters per second|metres per second"),
        "km/h": (F(5, 18), "km/h|kmh|kph|kilometers per hour|kilometres per hour"),
        "mph": (F("0.44704"), "mph|mi/h|miles per hour"),
        "kn": (F(463, 900), "kn|knot|knots"),
        "ft/s": (F("0.3048"), "ft/s|feet per second"),
    },
    "area": {
        "cm2": (F("0.0001"), "cm2|square centimeter|square centimeters"),
        "m2": (F(1), "m2|square meter|square meters|square metre|square metres|sq m"),
        "km2": (F(1000000), "km2|square kilometer|square kilometers|sq km"),
        "ha": (F(10000), "ha|hectare|hectares"),
        "ac": (F("4046.8564224"), "ac|acre|acres"),
        "ft2": (F("0.09290304"), "ft2|square foot|square feet|sq ft"),
        "mi2": (F("2589988.110336"), "mi2|square mile|square miles"),
    },
    "data": {
        "bit": (F(1, 8), "bit bits"),
        "b": (F(1), "byte bytes"),
        "kb": (F(1000), "kb kilobyte kilobytes"),
        "mb": (F(10**6), "mb megabyte megabytes"),
        "gb": (F(10**9), "gb gigabyte gigabytes"),
        "tb": (F(10**12), "tb terabyte terabytes"),
        "kib": (F(1024), "kib kibibyte kibibytes"),
        "mib": (F(1024**2), "mib mebibyte mebibytes"),
        "gib": (F(1024**3), "gib gibibyte gibibytes"),
    },
    "energy": {
        "j": (F(1), "j joule joules"),
        "kj": (F(1000), "kj kilojoule kilojoules"),
        "cal": (F("4.184"), "cal calorie calories"),
        "kcal": (F(4184), "kcal kilocalorie kilocalories"),
        "wh": (F(3600), "wh|watt hour|watt hours"),
        "kwh": (F(3600000), "kwh|kilowatt hour|kilowatt hours"),
        "btu": (F("1055.05585262"), "btu btus"),
    },
    "pressure": {
        "pa": (F(1), "pa pascal pascals"),
        "kpa": (F(1000), "kpa kilopascal kilopascals"),
        "bar": (F(100000), "bar bars"),
        "psi": (F("6894.757293168361"), "psi"),
        "atm": (F(101325), "atm atmosphere atmospheres"),
        "mmhg": (F("133.322387415"), "mmhg"),
    },
    "angle": {
        "deg": (PI / 180, "deg degree degrees"),
        "rad": (F(1), "rad radian radians"),
        "grad": (PI / 200, "grad gradian gradians"),
        "turn": (2 * PI, "turn|turns|revolution|revolutions"),
    },
}

TEMPERATURE = {
    "c": "c|celsius|°c|degrees celsius|degrees c|degree celsius|centigrade|deg c",
    "f": "f|fahrenheit|°f|degrees fahrenheit|degrees f|degree fahrenheit|deg f",
    "k": "k|kelvin|kelvins",
}


def _split(spellings):
    return spellings.split("|") if "|" in spellings else spellings.split(" ")


def _index():
    table = {}
    for family, units in FAMILIES.items():
        for factor, spellings in units.values():
            for name in _split(spellings):
                table[name] = (family, factor)
    for unit, spellings in TEMPERATURE.items():
        for name in _split(spellings):
            table[name] = ("temperature", unit)
    return table


INDEX = _index()

TO_KELVIN = {
    "c": lambda v: v + F("273.15"),
    "f": lambda v: (v - 32) * F(5, 9) + F("273.15"),
    "k": lambda v: v,
}
FROM_KELVIN = {
    "c": lambda v: v - F("273.15"),
    "f": lambda v: (v - F("273.15")) * F(9, 5) + 32,
    "k": lambda v: v,
}


def convert(value, source, target):
    """Convert a Fraction; raises ValueError with the tool's error text."""
    names = []
    for name in (source, target):
        key = " ".join(name.lower().split())
        if key not in INDEX:
            raise ValueError(f"unknown unit: {name}")
        names.append(INDEX[key])
    (family, a), (other, b) = names
    if family != other:
        raise ValueError(f"cannot convert {source} to {target}")
    if family == "temperature":
        return FROM_KELVIN[b](TO_KELVIN[a](value))
    return value * a / b

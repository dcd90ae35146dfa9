//! The smallest image and the smallest audio file.

use firebox_sdk::Content;

use crate::blob;

/// One red dot.
const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, // signature
    0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0, 0x90, 0x77, 0x53,
    0xde, // 1 x 1, RGB
    0, 0, 0, 12, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0, 0, 3, 1, 1, 0, 0xc9, 0xfe, 0x92,
    0xef, // the dot
    0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82, // end
];

/// One silent sample at 8 kHz.
const WAV: &[u8] = &[
    b'R', b'I', b'F', b'F', 37, 0, 0, 0, b'W', b'A', b'V', b'E', // the file
    b'f', b'm', b't', b' ', 16, 0, 0, 0, 1, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x40, 0x1f, 0, 0, 1, 0, 8,
    0, // 8 bit, mono
    b'd', b'a', b't', b'a', 1, 0, 0, 0, 0x80, // silence
];

pub(crate) fn picture() -> Content {
    blob("image/png", PNG)
}

pub(crate) fn sound() -> Content {
    blob("audio/wav", WAV)
}

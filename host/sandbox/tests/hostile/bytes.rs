//! Writers for parts of the binary format, to make components that no tool would write.

/// A number in LEB128.
pub(crate) fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// The bytes with their length in front.
pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    [number(bytes.len() as u64), bytes.to_vec()].concat()
}

/// `count` times `item`, with the count in front.
pub(crate) fn repeated(count: usize, item: &[u8]) -> Vec<u8> {
    [number(count as u64), item.repeat(count)].concat()
}

/// A section with this id.
pub(crate) fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [vec![id], sized(body)].concat()
}

/// A core module of these sections.
pub(crate) fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat()
}

/// A component of these sections.
pub(crate) fn inner(sections: &[Vec<u8>]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0".to_vec(), sections.concat()].concat()
}

/// A component of these sections that exports a stage, so that it is not refused for lack of one.
pub(crate) fn plugin(sections: &[Vec<u8>]) -> Vec<u8> {
    let name = b"firebox:plugin/text@0.1.0";
    let instance = section(5, &[1, 1, 0]);
    let export = section(11, &[&[1, 0][..], &sized(name), &[5, 0, 0]].concat());
    inner(&[vec![instance, export], sections.to_vec()].concat())
}

/// A plugin of one core module.
pub(crate) fn of_module(sections: &[Vec<u8>]) -> Vec<u8> {
    plugin(&[section(1, &module(sections))])
}

/// A type section with one function type of `parameters` parameters, all `i32`.
pub(crate) fn function_type(parameters: usize) -> Vec<u8> {
    section(1, &[&[1, 0x60][..], &repeated(parameters, &[0x7f]), &[0]].concat())
}

/// A plugin of `count` functions with the same body. The body starts with its locals.
pub(crate) fn of_functions(count: usize, parameters: usize, body: &[u8]) -> Vec<u8> {
    of_module(&[
        function_type(parameters),
        section(3, &repeated(count, &[0])),
        section(10, &repeated(count, &sized(body))),
    ])
}

/// A function body: the declaration of `locals` locals of type `i32`, the code, and the end.
pub(crate) fn body(locals: u64, code: &[u8]) -> Vec<u8> {
    let declared = if locals == 0 { vec![0] } else { [vec![1], number(locals), vec![0x7f]].concat() };
    [declared, code.to_vec(), vec![0x0b]].concat()
}

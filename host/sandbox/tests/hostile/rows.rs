//! The hostile components, and a part of the error that each must cause.

use super::bytes::{
    body, function_type, inner, module, number, of_functions, of_module, plugin, repeated, section, sized,
};

/// One hostile component.
pub(crate) struct HostileRow {
    pub(crate) name: &'static str,
    pub(crate) expected: &'static str,
    pub(crate) component: fn() -> Vec<u8>,
}

const NOTHING: &str = "";

macro_rules! rows {
    ($($name:ident => $expected:expr,)*) => {
        /// Every component.
        pub(crate) const ROWS: &[HostileRow] =
            &[$(HostileRow { name: stringify!($name), expected: $expected, component: $name },)*];
    };
}

rows! {
    a_million_functions => "functions; Firebox allows",
    fifty_thousand_locals_in_five_bytes => "locals in one function",
    four_thousand_locals_in_each_of_many => "locals in all functions",
    a_thousand_parameters_in_each_of_many => "locals in all functions",
    locals_alive_over_calls => "locals times blocks and calls",
    locals_alive_over_blocks => "locals times blocks and calls",
    locals_alive_in_many_functions => "; Firebox allows",
    blocks_in_one_another => "blocks in one another",
    many_blocks => "blocks in all functions",
    many_branches => "blocks in all functions",
    millions_of_calls => "calls with their arguments",
    calls_with_a_thousand_arguments => "calls with their arguments",
    tables_of_branches => "targets of branches",
    seven_megabytes_of_function => "bytes of code in one function",
    all_of_it_code => "bytes of code",
    instances_that_double => "component instances",
    core_instances_that_double => "core instances",
    many_core_instances => "core instances",
    components_in_one_another => "components in one another",
    many_components => "nested components",
    components_passed_on => "passes on whole components",
    many_modules => "core modules",
    types_in_one_another => "component types in one another",
    a_type_that_doubles => "parts in one component type",
    a_large_type_at_many_uses => "parts in all uses of component types",
    a_list_of_a_billion => "parts in one component type",
    many_core_types => "core types",
    much_type => "bytes of component types",
    many_imports => "core imports",
    many_exports => "core exports",
    many_globals => "globals",
    many_tables => "tables",
    one_huge_table => "elements in one table",
    many_memories => "memories",
    many_element_segments => "element segments",
    many_elements => "elements of segments",
    many_data_segments => "data segments",
    a_long_name => "bytes in one name",
    many_aliases => "imports, exports, aliases and conversions",
    a_count_that_lies => "4294967295 functions",
    a_size_that_lies => "cannot run on this host",
    an_unknown_section => "cannot run on this host",
    an_import_with_an_escape => "imports",
    many_unknown_imports => "more",
    an_artifact_of_zeros => "bytes of compiled code",
    dense_and_within_every_count => NOTHING,
    deep_and_within_every_count => NOTHING,
    live_and_within_every_count => NOTHING,
    one_function_at_its_limit => NOTHING,
    calls_at_their_limit => NOTHING,
    blocks_at_their_limit => NOTHING,
    small_functions_at_their_limit => NOTHING,
    declared_locals_at_their_limit => NOTHING,
}

fn a_million_functions() -> Vec<u8> {
    of_functions(1_000_000, 0, &body(0, &[]))
}

fn fifty_thousand_locals_in_five_bytes() -> Vec<u8> {
    of_functions(300, 0, &body(50_000, &[]))
}

fn four_thousand_locals_in_each_of_many() -> Vec<u8> {
    of_functions(1_000, 0, &body(4_000, &[]))
}

fn a_thousand_parameters_in_each_of_many() -> Vec<u8> {
    of_functions(1_000, 1_000, &body(0, &[]))
}

/// A body that sets `count` locals, runs `between`, and reads them all.
fn alive(count: u64, between: &[u8]) -> Vec<u8> {
    let each = |code: &dyn Fn(Vec<u8>) -> Vec<u8>| (0..count).flat_map(|at| code(number(at))).collect::<Vec<u8>>();
    let set = each(&|local| [vec![0x41, 7, 0x21], local].concat());
    let get = each(&|local| [vec![0x20], local, vec![0x1a]].concat());
    body(count, &[set, between.to_vec(), get].concat())
}

fn locals_alive_over_calls() -> Vec<u8> {
    of_functions(1, 0, &alive(3_000, &[0x10, 0].repeat(50_000)))
}

fn locals_alive_over_blocks() -> Vec<u8> {
    of_functions(1, 0, &alive(3_000, &[0x03, 0x40, 0x41, 0, 0x0d, 0, 0x0b].repeat(20_000)))
}

fn locals_alive_in_many_functions() -> Vec<u8> {
    of_functions(200, 0, &alive(300, &[0x10, 0].repeat(250)))
}

fn blocks_in_one_another() -> Vec<u8> {
    let code = [[0x02, 0x40].repeat(100_000), vec![0x0b; 100_000]].concat();
    of_functions(1, 0, &body(0, &code))
}

fn many_blocks() -> Vec<u8> {
    of_functions(20, 0, &body(0, &[0x03, 0x40, 0x0b].repeat(200_000)))
}

fn many_branches() -> Vec<u8> {
    of_functions(20, 0, &body(0, &[0x41, 0, 0x0d, 0].repeat(200_000)))
}

fn millions_of_calls() -> Vec<u8> {
    of_functions(12, 0, &body(0, &[0x10, 0].repeat(500_000)))
}

fn calls_with_a_thousand_arguments() -> Vec<u8> {
    // After `unreachable` the stack is polymorphic: every call finds its arguments.
    of_functions(1, 1_000, &body(0, &[vec![0x00], [0x10, 0].repeat(20_000)].concat()))
}

fn tables_of_branches() -> Vec<u8> {
    let table = [vec![0x41, 0, 0x0e], repeated(500_000, &[0]), vec![0]].concat();
    of_functions(4, 0, &body(0, &table))
}

fn seven_megabytes_of_function() -> Vec<u8> {
    of_functions(1, 0, &body(0, &vec![0x01; 7_000_000]))
}

fn all_of_it_code() -> Vec<u8> {
    of_functions(40, 0, &body(0, &vec![0x01; 1_000_000]))
}

/// A component whose levels each instantiate the level below twice.
fn doubling(innermost: Vec<u8>) -> Vec<u8> {
    let mut sections = vec![section(4, &innermost)];
    for level in 0..30_u64 {
        let alias = section(6, &[&[1, 4, 2, 1][..], &number(level)].concat());
        let twice = section(5, &[2, 0, 0, 0, 0, 0, 0]);
        sections.push(section(4, &inner(&[alias, twice])));
    }
    let last = section(5, &[&[1, 0][..], &number(30), &[0]].concat());
    plugin(&[sections, vec![last]].concat())
}

fn instances_that_double() -> Vec<u8> {
    doubling(inner(&[]))
}

fn core_instances_that_double() -> Vec<u8> {
    doubling(inner(&[section(1, &module(&[])), section(2, &repeated(100, &[0, 0, 0]))]))
}

fn many_core_instances() -> Vec<u8> {
    plugin(&[section(1, &module(&[])), section(2, &repeated(900, &[0, 0, 0]))])
}

fn components_in_one_another() -> Vec<u8> {
    let deep = (0..2_000).fold(inner(&[]), |within, _| inner(&[section(4, &within)]));
    plugin(&[section(4, &deep)])
}

fn many_components() -> Vec<u8> {
    plugin(&vec![section(4, &inner(&[])); 900])
}

fn components_passed_on() -> Vec<u8> {
    let export = section(11, &[&[1, 0][..], &sized(b"c"), &[4, 0, 0]].concat());
    plugin(&[section(4, &inner(&[])), export])
}

fn many_modules() -> Vec<u8> {
    plugin(&vec![section(1, &module(&[])); 900])
}

fn types_in_one_another() -> Vec<u8> {
    let deep = [[0x42, 0x01, 0x01].repeat(15_000), vec![0x42, 0x00]].concat();
    plugin(&[section(7, &[vec![1], deep].concat())])
}

/// Types that are each a pair of the type before: the last has 2 to the power of `levels` parts.
fn doubled_types(levels: u64) -> Vec<u8> {
    let first = vec![0x6f, 1, 0x7f];
    let pairs = (0..levels).flat_map(|at| [vec![0x6f, 2], number(at), number(at)].concat());
    [number(levels + 1), first, pairs.collect()].concat()
}

fn a_type_that_doubles() -> Vec<u8> {
    plugin(&[section(7, &doubled_types(18))])
}

fn a_large_type_at_many_uses() -> Vec<u8> {
    let levels = 9;
    let function = [vec![1, 0x40, 1], sized(b"a"), number(levels), vec![1, 0]].concat();
    let exports: Vec<u8> = (0..5_000)
        .flat_map(|at| {
            let name = format!("f{at}");
            [vec![0], sized(name.as_bytes()), vec![1], number(levels + 1)].concat()
        })
        .collect();
    let imports = section(10, &[number(5_000), exports].concat());
    plugin(&[section(7, &doubled_types(levels)), section(7, &function), imports])
}

fn a_list_of_a_billion() -> Vec<u8> {
    plugin(&[section(7, &[vec![1, 0x67, 0x7f], number(1_000_000_000)].concat())])
}

fn many_core_types() -> Vec<u8> {
    of_module(&[section(1, &repeated(500_000, &[0x60, 0, 0]))])
}

fn much_type() -> Vec<u8> {
    plugin(&[section(7, &repeated(200_000, &[0x70, 0x7f]))])
}

fn many_imports() -> Vec<u8> {
    of_module(&[function_type(0), section(2, &repeated(500_000, &[1, b'a', 1, b'b', 0, 0]))])
}

fn many_exports() -> Vec<u8> {
    let exports: Vec<u8> =
        (0..200_000).flat_map(|at| [sized(format!("{at}").as_bytes()), vec![0, 0]].concat()).collect();
    of_module(&[
        function_type(0),
        section(3, &[1, 0]),
        section(7, &[number(200_000), exports].concat()),
        section(10, &[vec![1], sized(&body(0, &[]))].concat()),
    ])
}

fn many_globals() -> Vec<u8> {
    of_module(&[section(6, &repeated(900_000, &[0x7f, 0, 0x41, 0, 0x0b]))])
}

fn many_tables() -> Vec<u8> {
    of_module(&[section(4, &repeated(100, &[0x70, 0, 1]))])
}

fn one_huge_table() -> Vec<u8> {
    of_module(&[section(4, &[vec![1, 0x70, 0], number(10_000_000)].concat())])
}

fn many_memories() -> Vec<u8> {
    of_module(&[section(5, &repeated(100, &[0, 1]))])
}

fn many_element_segments() -> Vec<u8> {
    of_module(&[section(9, &repeated(100_000, &[1, 0, 0]))])
}

fn many_elements() -> Vec<u8> {
    let segment = [vec![1, 0], repeated(4_000_000, &[0])].concat();
    of_module(&[
        function_type(0),
        section(3, &[1, 0]),
        section(9, &[vec![1], segment].concat()),
        section(10, &[vec![1], sized(&body(0, &[]))].concat()),
    ])
}

fn many_data_segments() -> Vec<u8> {
    of_module(&[section(11, &repeated(100_000, &[1, 0]))])
}

fn a_long_name() -> Vec<u8> {
    let import = [sized(&[b'a'; 90_000]), vec![1, b'b', 0, 0]].concat();
    of_module(&[function_type(0), section(2, &[vec![1], import].concat())])
}

fn many_aliases() -> Vec<u8> {
    let outer = [3, 2, 0, 0];
    plugin(&[section(7, &[1, 0x7f]), section(6, &repeated(200_000, &outer))])
}

fn a_count_that_lies() -> Vec<u8> {
    of_module(&[section(3, &number(u64::from(u32::MAX)))])
}

fn a_size_that_lies() -> Vec<u8> {
    plugin(&[[vec![1], number(u64::from(u32::MAX))].concat()])
}

fn an_unknown_section() -> Vec<u8> {
    plugin(&[section(99, &[1, 2, 3])])
}

fn import(name: &str) -> Vec<u8> {
    [vec![0], sized(name.as_bytes()), vec![5, 0]].concat()
}

fn an_import_with_an_escape() -> Vec<u8> {
    let instance_type = section(7, &[1, 0x42, 0]);
    let names: Vec<u8> = import("evil\r\x1b[2J:spoof/x");
    plugin(&[instance_type, section(10, &[vec![1], names].concat())])
}

fn many_unknown_imports() -> Vec<u8> {
    let names: Vec<u8> = (0..500).flat_map(|at| import(&format!("evil:n{at}/{}", "x".repeat(3_000)))).collect();
    plugin(&[section(7, &[1, 0x42, 0]), section(10, &[number(500), names].concat())])
}

/// Memories whose data segments are far apart, so that the compiled artifact would contain the zeros between them.
fn an_artifact_of_zeros() -> Vec<u8> {
    let far = [vec![0, 0x41], number(0x00ff_0000), vec![0x0b, 1, 1]].concat();
    let data = [vec![2, 0, 0x41, 0, 0x0b, 1, 1], far].concat();
    let memory = module(&[section(5, &[vec![1, 0], number(8_000)].concat()), section(11, &data)]);
    plugin(&vec![section(1, &memory); 8])
}

/// Arithmetic only, as expensive as its bytes allow.
fn dense_and_within_every_count() -> Vec<u8> {
    let code = [0x20, 0, 0x20, 0, 0x6c, 0x21, 0].repeat(8_000);
    of_functions(2, 0, &body(1, &code))
}

fn deep_and_within_every_count() -> Vec<u8> {
    let depth = 1_900;
    let table: Vec<u8> = [vec![0x41, 0, 0x0e], number(depth), (0..=depth).flat_map(number).collect()].concat();
    let code = [[0x02, 0x40].repeat(depth as usize), table, vec![0x0b; depth as usize]].concat();
    of_functions(2, 0, &body(0, &code))
}

fn live_and_within_every_count() -> Vec<u8> {
    of_functions(20, 0, &alive(250, &[0x10, 0].repeat(250)))
}

fn one_function_at_its_limit() -> Vec<u8> {
    of_functions(1, 0, &alive(1_300, &[0x10, 0].repeat(1_500)))
}

/// Half a MiB of code with a call every nine bytes, and locals that are live across the calls.
fn calls_at_their_limit() -> Vec<u8> {
    of_functions(20, 0, &alive(30, &[0x10, 0, 0x20, 0, 0x20, 1, 0x6a, 0x1a, 0x01].repeat(3_000)))
}

fn blocks_at_their_limit() -> Vec<u8> {
    of_functions(20, 0, &alive(30, &[0x03, 0x40, 0x20, 0, 0x1a, 0x0b, 0x01, 0x01, 0x01].repeat(3_000)))
}

fn small_functions_at_their_limit() -> Vec<u8> {
    of_functions(2_400, 0, &body(0, &[]))
}

fn declared_locals_at_their_limit() -> Vec<u8> {
    of_functions(5, 0, &body(3_990, &[0x03, 0x40, 0x41, 0, 0x0d, 0, 0x0b].repeat(10)))
}

//! What a component holds, counted before anything compiles it. Compiling is work that a hostile component makes dear: a few
//! bytes can stand for a million instances, locals or parts of types. Counting is linear in the bytes, and stops at the first
//! limit that is passed.

mod body;
mod tally;
mod types;

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, ComponentTypeSectionReader, CompositeInnerType, ElementItems, ElementSectionReader, Encoding,
    FunctionBody, ImportSectionReader, Instance, Parser, Payload, TableSectionReader, TypeRef, TypeSectionReader,
};

use self::tally::Tallies;
pub(crate) use self::tally::{Bounds, Over};
use self::types::Sizes;

/// What was counted, as far as others ask for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The names of its imports, in its own order.
    pub(crate) imports: Vec<String>,
    /// The names of its exports, in its own order.
    pub(crate) exports: Vec<String>,
    /// Bytes of all function bodies.
    pub(crate) code_bytes: u64,
}

/// Why a component is not compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is too much of something.
    Over(Over),
    /// It cannot be read.
    Malformed(String),
}

impl From<Over> for Refusal {
    fn from(over: Over) -> Self {
        Self::Over(over)
    }
}

impl From<BinaryReaderError> for Refusal {
    fn from(error: BinaryReaderError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl Shape {
    /// Counts the component in `bytes`.
    ///
    /// # Errors
    /// `Refusal` at the first limit of `bounds` that it passes, or byte that makes no sense.
    pub(crate) fn of(bytes: &[u8], bounds: Bounds) -> Result<Self, Refusal> {
        let mut counter = Counter::new(bytes, bounds);
        for payload in Parser::new(0).parse_all(bytes) {
            counter.payload(payload?)?;
        }
        counter.tallies.hold_to_code()?;
        Ok(counter.finish())
    }
}

/// What one instantiation of a component stands for, with all it instantiates in turn.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    core_instances: u64,
    component_instances: u64,
    items: u64,
}

impl Weight {
    fn add(&mut self, other: Self) {
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.component_instances = self.component_instances.saturating_add(other.component_instances);
        self.items = self.items.saturating_add(other.items);
    }
}

/// A module that is being read.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// Parameters and results of each type.
    types: Vec<u64>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    /// The function whose body comes next.
    next: usize,
}

impl Module {
    fn type_arity(&self, index: u32) -> u64 {
        self.types.get(index as usize).copied().unwrap_or(0)
    }

    fn function_arity(&self, index: u32) -> u64 {
        self.functions.get(index as usize).map_or(0, |index| self.type_arity(*index))
    }
}

/// A component that is being read.
#[derive(Debug, Default)]
struct Component {
    weight: Weight,
    /// The components it can instantiate, by their index.
    components: Vec<Weight>,
}

#[derive(Debug)]
enum Frame {
    Module(Module),
    Component(Component),
}

struct Counter<'a> {
    bytes: &'a [u8],
    tallies: Tallies,
    frames: Vec<Frame>,
    sizes: Sizes,
    shape: Shape,
}

impl<'a> Counter<'a> {
    fn new(bytes: &'a [u8], bounds: Bounds) -> Self {
        let (sizes, shape) = (Sizes::default(), Shape::default());
        Self { bytes, tallies: Tallies::new(bounds), frames: Vec::new(), sizes, shape }
    }

    fn finish(self) -> Shape {
        Shape { code_bytes: self.tallies.code_bytes.found, ..self.shape }
    }

    fn payload(&mut self, payload: Payload<'_>) -> Result<(), Refusal> {
        match payload {
            Payload::Version { encoding, .. } => self.open(encoding),
            Payload::End(_) => self.close(),
            Payload::ModuleSection { .. }
            | Payload::ComponentSection { .. }
            | Payload::InstanceSection(_)
            | Payload::CoreTypeSection(_)
            | Payload::ComponentInstanceSection(_)
            | Payload::ComponentAliasSection(_)
            | Payload::ComponentTypeSection(_)
            | Payload::ComponentCanonicalSection(_)
            | Payload::ComponentImportSection(_)
            | Payload::ComponentExportSection(_) => self.of_component(payload),
            Payload::CustomSection(_) | Payload::StartSection { .. } | Payload::DataCountSection { .. } => Ok(()),
            Payload::CodeSectionStart { .. } => Ok(()),
            _ => self.of_module(payload),
        }
    }

    fn open(&mut self, encoding: Encoding) -> Result<(), Refusal> {
        match encoding {
            Encoding::Module => self.frames.push(Frame::Module(Module::default())),
            Encoding::Component => {
                self.sizes.open();
                self.frames.push(Frame::Component(Component::default()));
            }
        }
        self.tallies.nesting.most(self.frames.len() as u64)?;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Refusal> {
        let Some(Frame::Component(closed)) = self.frames.pop() else { return Ok(()) };
        self.sizes.close();
        if let Some(Frame::Component(parent)) = self.frames.last_mut() {
            parent.components.push(closed.weight);
        }
        Ok(())
    }

    fn component(&mut self) -> Result<&mut Component, Refusal> {
        match self.frames.last_mut() {
            Some(Frame::Component(component)) => Ok(component),
            _ => Err(Refusal::Malformed("a component's section in a module".to_owned())),
        }
    }

    fn module(&mut self) -> Result<&mut Module, Refusal> {
        match self.frames.last_mut() {
            Some(Frame::Module(module)) => Ok(module),
            _ => Err(Refusal::Malformed("a module's section in a component".to_owned())),
        }
    }

    fn of_component(&mut self, payload: Payload<'_>) -> Result<(), Refusal> {
        match payload {
            Payload::ModuleSection { .. } => self.tallies.modules.add(1)?,
            Payload::ComponentSection { .. } => self.tallies.components.add(1)?,
            Payload::CoreTypeSection(reader) => self.tallies.core_types.add(u64::from(reader.count()))?,
            Payload::ComponentCanonicalSection(reader) => self.items(u64::from(reader.count()))?,
            Payload::ComponentTypeSection(reader) => self.component_types(reader)?,
            Payload::InstanceSection(reader) => {
                for instance in reader {
                    self.core_instance(&instance?)?;
                }
            }
            Payload::ComponentInstanceSection(reader) => {
                for instance in reader {
                    self.component_instance(&instance?)?;
                }
            }
            Payload::ComponentAliasSection(reader) => {
                for alias in reader {
                    self.alias(&alias?)?;
                }
            }
            Payload::ComponentImportSection(reader) => {
                for import in reader {
                    let import = import?;
                    self.named(import.name.name, Some(import.ty), import.ty.kind(), true)?;
                }
            }
            Payload::ComponentExportSection(reader) => {
                for export in reader {
                    let export = export?;
                    self.named(export.name.name, export.ty, export.kind, false)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Items of the component that is being read: each is looked at again whenever it is instantiated.
    fn items(&mut self, more: u64) -> Result<(), Refusal> {
        let component = self.component()?;
        component.weight.items = component.weight.items.saturating_add(more);
        let items = component.weight.items;
        self.tallies.items.most(items)?;
        self.type_use(more)
    }

    /// Each use of a value's type may be of the largest there is.
    fn type_use(&mut self, uses: u64) -> Result<(), Refusal> {
        self.tallies.type_work.add(uses.saturating_mul(self.sizes.largest_value))?;
        Ok(())
    }

    fn component_types(&mut self, reader: ComponentTypeSectionReader<'_>) -> Result<(), Refusal> {
        let section = self.bytes.get(reader.range()).unwrap_or_default();
        self.tallies.type_bytes.add(section.len() as u64)?;
        self.tallies.type_nesting.most(types::nested(section))?;
        for ty in reader {
            let size = self.sizes.define(&ty?);
            self.tallies.type_size.most(size)?;
            self.tallies.type_work.add(size)?;
        }
        Ok(())
    }

    fn core_instance(&mut self, instance: &Instance<'_>) -> Result<(), Refusal> {
        match instance {
            Instance::Instantiate { args, .. } => {
                let component = self.component()?;
                component.weight.core_instances = component.weight.core_instances.saturating_add(1);
                let instances = component.weight.core_instances;
                self.tallies.core_instances.most(instances)?;
                self.items(args.len() as u64)
            }
            Instance::FromExports(exports) => self.items(exports.len() as u64),
        }
    }

    fn component_instance(&mut self, instance: &ComponentInstance<'_>) -> Result<(), Refusal> {
        match instance {
            ComponentInstance::Instantiate { component_index, args } => {
                let component = self.component()?;
                let target = component.components.get(*component_index as usize).copied().unwrap_or_default();
                component.weight.add(Weight { component_instances: 1, ..Weight::default() });
                component.weight.add(target);
                let Weight { core_instances, component_instances, .. } = component.weight;
                self.tallies.core_instances.most(core_instances)?;
                self.tallies.component_instances.most(component_instances)?;
                // An argument may be an instance of the largest type there is.
                self.tallies.type_work.add(self.sizes.largest.saturating_mul(args.len() as u64))?;
                self.items(args.len() as u64)
            }
            ComponentInstance::FromExports(exports) => self.items(exports.len() as u64),
        }
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) -> Result<(), Refusal> {
        self.items(1)?;
        self.sizes.alias(alias);
        match alias {
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                let weight = self.outer(*count, *index);
                self.component()?.components.push(weight);
                Ok(())
            }
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => Err(passed_on()),
            ComponentAlias::InstanceExport { name, .. } | ComponentAlias::CoreInstanceExport { name, .. } => {
                Ok(self.tallies.name_bytes.most(name.len() as u64)?)
            }
            ComponentAlias::Outer { .. } => Ok(()),
        }
    }

    /// What component `index` of the frame `out` levels out stands for.
    fn outer(&self, out: u32, index: u32) -> Weight {
        let frame = self.frames.len().checked_sub(1 + out as usize).and_then(|place| self.frames.get(place));
        match frame {
            Some(Frame::Component(component)) => component.components.get(index as usize).copied().unwrap_or_default(),
            _ => Weight::default(),
        }
    }

    fn named(
        &mut self,
        name: &str,
        ty: Option<ComponentTypeRef>,
        kind: ComponentExternalKind,
        imported: bool,
    ) -> Result<(), Refusal> {
        self.tallies.name_bytes.most(name.len() as u64)?;
        self.items(1)?;
        match (ty, kind) {
            (_, ComponentExternalKind::Component) => return Err(passed_on()),
            (Some(ty), ComponentExternalKind::Type) => self.sizes.name(ty),
            (None, ComponentExternalKind::Type) => self.sizes.unknown(),
            (Some(ComponentTypeRef::Instance(index)), _) => self.tallies.type_work.add(self.sizes.at(0, index))?,
            _ => {}
        }
        if self.frames.len() == 1 {
            let names = if imported { &mut self.shape.imports } else { &mut self.shape.exports };
            names.push(name.to_owned());
        }
        Ok(())
    }

    fn of_module(&mut self, payload: Payload<'_>) -> Result<(), Refusal> {
        match payload {
            Payload::TypeSection(reader) => self.core_types(reader)?,
            Payload::ImportSection(reader) => self.core_imports(reader)?,
            Payload::FunctionSection(reader) => {
                self.tallies.functions.add(u64::from(reader.count()))?;
                for index in reader {
                    let index = index?;
                    self.module()?.functions.push(index);
                }
            }
            Payload::TableSection(reader) => self.tables(reader)?,
            Payload::MemorySection(reader) => self.tallies.memories.add(u64::from(reader.count()))?,
            Payload::GlobalSection(reader) => self.tallies.globals.add(u64::from(reader.count()))?,
            Payload::TagSection(reader) => self.tallies.globals.add(u64::from(reader.count()))?,
            Payload::ElementSection(reader) => self.elements(reader)?,
            Payload::DataSection(reader) => self.tallies.data_segments.add(u64::from(reader.count()))?,
            Payload::ExportSection(reader) => {
                self.tallies.core_exports.add(u64::from(reader.count()))?;
                for export in reader {
                    self.tallies.name_bytes.most(export?.name.len() as u64)?;
                }
            }
            Payload::CodeSectionEntry(body) => self.code(&body)?,
            _ => return Err(Refusal::Malformed("it has a section that this host does not know".to_owned())),
        }
        Ok(())
    }

    fn core_types(&mut self, reader: TypeSectionReader<'_>) -> Result<(), Refusal> {
        for group in reader {
            for ty in group?.into_types() {
                self.tallies.core_types.add(1)?;
                let arity = match &ty.composite_type.inner {
                    CompositeInnerType::Func(function) => function.params().len() + function.results().len(),
                    _ => 0,
                };
                self.module()?.types.push(arity as u64);
            }
        }
        Ok(())
    }

    fn core_imports(&mut self, reader: ImportSectionReader<'_>) -> Result<(), Refusal> {
        for import in reader.into_imports() {
            let import = import?;
            self.tallies.core_imports.add(1)?;
            self.tallies.name_bytes.most(import.module.len().max(import.name.len()) as u64)?;
            if let TypeRef::Func(index) | TypeRef::FuncExact(index) = import.ty {
                let module = self.module()?;
                module.functions.push(index);
                module.next = module.functions.len();
            }
        }
        Ok(())
    }

    fn tables(&mut self, reader: TableSectionReader<'_>) -> Result<(), Refusal> {
        for table in reader {
            self.tallies.tables.add(1)?;
            self.tallies.table_elements.most(table?.ty.initial)?;
        }
        Ok(())
    }

    fn elements(&mut self, reader: ElementSectionReader<'_>) -> Result<(), Refusal> {
        for segment in reader {
            self.tallies.element_segments.add(1)?;
            let count = match segment?.items {
                ElementItems::Functions(functions) => functions.count(),
                ElementItems::Expressions(_, expressions) => expressions.count(),
            };
            self.tallies.elements.add(u64::from(count))?;
        }
        Ok(())
    }

    fn code(&mut self, body: &FunctionBody<'_>) -> Result<(), Refusal> {
        let Some(Frame::Module(module)) = self.frames.last_mut() else {
            return Err(Refusal::Malformed("code outside of a module".to_owned()));
        };
        let index = u32::try_from(module.next).unwrap_or(u32::MAX);
        module.next += 1;
        body::count(body, module.function_arity(index), module, &mut self.tallies)
    }
}

/// Components that are handed around could be instantiated any number of times without a trace in their own bytes.
fn passed_on() -> Refusal {
    let what = "it imports, exports or passes on whole components, which this host does not offer; link them first";
    Refusal::Malformed(what.to_owned())
}

#[cfg(test)]
mod tests;

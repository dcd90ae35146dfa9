//! Counts the contents of a component before it is compiled. A hostile component can make compiling expensive: a few bytes
//! can stand for a million instances, locals or parts of types. Counting takes time in proportion to the bytes, and stops at
//! the first limit that is exceeded.

mod body;
mod tally;
mod types;

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, ComponentTypeSectionReader, CompositeInnerType, ElementItems, ElementSectionReader, Encoding,
    FunctionBody, ImportSectionReader, Instance, Parser, Payload, TableSectionReader, TypeRef, TypeSectionReader,
};

use self::tally::Tallies;
pub(crate) use self::tally::{Bounds, LimitExceeded};
use self::types::Sizes;

/// The contents of a component that other modules need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The names of its imports, in the component's order.
    pub(crate) imports: Vec<String>,
    /// The names of its exports, in the component's order.
    pub(crate) exports: Vec<String>,
    /// Bytes of all function bodies.
    pub(crate) code_bytes: u64,
}

/// Why a component is not compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ShapeError {
    /// A limit is exceeded.
    Limit(LimitExceeded),
    /// The component cannot be read.
    Malformed(String),
}

impl From<LimitExceeded> for ShapeError {
    fn from(exceeded: LimitExceeded) -> Self {
        Self::Limit(exceeded)
    }
}

impl From<BinaryReaderError> for ShapeError {
    fn from(error: BinaryReaderError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl Shape {
    /// Counts the component in `bytes`.
    ///
    /// # Errors
    /// `ShapeError` at the first limit of `bounds` that is exceeded, or the first byte that cannot be read.
    pub(crate) fn of(bytes: &[u8], bounds: Bounds) -> Result<Self, ShapeError> {
        Self::counted(bytes, bounds).map(|(shape, _)| shape)
    }

    /// As [`Shape::of`], with all counts.
    ///
    /// # Errors
    /// As [`Shape::of`].
    pub(crate) fn counted(bytes: &[u8], bounds: Bounds) -> Result<(Self, Tallies), ShapeError> {
        let mut counter = Counter::new(bytes, bounds);
        for payload in Parser::new(0).parse_all(bytes) {
            counter.payload(payload?)?;
        }
        counter.tallies.check_density()?;
        Ok(counter.finish())
    }
}

/// The work of instantiating a component once, including everything that it instantiates itself.
#[derive(Debug, Clone, Copy, Default)]
struct InstantiationCost {
    core_instances: u64,
    component_instances: u64,
    items: u64,
}

impl InstantiationCost {
    fn add(&mut self, other: Self) {
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.component_instances = self.component_instances.saturating_add(other.component_instances);
        self.items = self.items.saturating_add(other.items);
    }
}

/// The core module that is being read.
#[derive(Debug, Default)]
pub(crate) struct ModuleFrame {
    /// The number of parameters and results of each type.
    types: Vec<u64>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    /// The function whose body comes next.
    next: usize,
}

impl ModuleFrame {
    fn type_arity(&self, index: u32) -> u64 {
        self.types.get(index as usize).copied().unwrap_or(0)
    }

    fn function_arity(&self, index: u32) -> u64 {
        self.functions.get(index as usize).map_or(0, |index| self.type_arity(*index))
    }
}

/// A component that is being read.
#[derive(Debug, Default)]
struct ComponentFrame {
    cost: InstantiationCost,
    /// The costs of the components that it can instantiate, by index.
    components: Vec<InstantiationCost>,
}

#[derive(Debug)]
enum Frame {
    Module(ModuleFrame),
    Component(ComponentFrame),
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

    fn finish(self) -> (Shape, Tallies) {
        (Shape { code_bytes: self.tallies.code_bytes.found, ..self.shape }, self.tallies)
    }

    fn payload(&mut self, payload: Payload<'_>) -> Result<(), ShapeError> {
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

    fn open(&mut self, encoding: Encoding) -> Result<(), ShapeError> {
        match encoding {
            Encoding::Module => self.frames.push(Frame::Module(ModuleFrame::default())),
            Encoding::Component => {
                self.sizes.open();
                self.frames.push(Frame::Component(ComponentFrame::default()));
            }
        }
        self.tallies.nesting.record(self.frames.len() as u64)?;
        Ok(())
    }

    fn close(&mut self) -> Result<(), ShapeError> {
        let Some(Frame::Component(closed)) = self.frames.pop() else { return Ok(()) };
        self.sizes.close();
        if let Some(Frame::Component(parent)) = self.frames.last_mut() {
            parent.components.push(closed.cost);
        }
        Ok(())
    }

    fn component(&mut self) -> Result<&mut ComponentFrame, ShapeError> {
        match self.frames.last_mut() {
            Some(Frame::Component(component)) => Ok(component),
            _ => Err(ShapeError::Malformed("a component's section in a module".to_owned())),
        }
    }

    fn module(&mut self) -> Result<&mut ModuleFrame, ShapeError> {
        match self.frames.last_mut() {
            Some(Frame::Module(module)) => Ok(module),
            _ => Err(ShapeError::Malformed("a module's section in a component".to_owned())),
        }
    }

    fn of_component(&mut self, payload: Payload<'_>) -> Result<(), ShapeError> {
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
                    self.sizes.import(import.ty);
                }
            }
            Payload::ComponentExportSection(reader) => {
                for export in reader {
                    let export = export?;
                    self.named(export.name.name, export.ty, export.kind, false)?;
                    self.sizes.export(&export);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Counts items of the component that is being read, which may have a type of the component.
    fn items(&mut self, more: u64) -> Result<(), ShapeError> {
        self.core_items(more)?;
        self.type_use(more)
    }

    /// Counts items that have no component type, such as those of core modules. Wasmtime visits each item again at every
    /// instantiation.
    fn core_items(&mut self, more: u64) -> Result<(), ShapeError> {
        let component = self.component()?;
        component.cost.items = component.cost.items.saturating_add(more);
        let items = component.cost.items;
        Ok(self.tallies.items.record(items)?)
    }

    /// Counts uses of value types. Each use is assumed to be of the largest type so far.
    fn type_use(&mut self, uses: u64) -> Result<(), ShapeError> {
        self.tallies.type_work.add(uses.saturating_mul(self.sizes.largest_value))?;
        Ok(())
    }

    fn component_types(&mut self, reader: ComponentTypeSectionReader<'_>) -> Result<(), ShapeError> {
        let section = self.bytes.get(reader.range()).unwrap_or_default();
        self.tallies.type_bytes.add(section.len() as u64)?;
        self.tallies.type_nesting.record(types::nested(section))?;
        for ty in reader {
            let size = self.sizes.define(&ty?);
            self.tallies.type_size.record(size)?;
            self.tallies.type_work.add(size)?;
        }
        Ok(())
    }

    fn core_instance(&mut self, instance: &Instance<'_>) -> Result<(), ShapeError> {
        match instance {
            Instance::Instantiate { args, .. } => {
                let component = self.component()?;
                component.cost.core_instances = component.cost.core_instances.saturating_add(1);
                let instances = component.cost.core_instances;
                self.tallies.core_instances.record(instances)?;
                self.core_items(args.len() as u64)
            }
            Instance::FromExports(exports) => self.core_items(exports.len() as u64),
        }
    }

    fn component_instance(&mut self, instance: &ComponentInstance<'_>) -> Result<(), ShapeError> {
        match instance {
            ComponentInstance::Instantiate { component_index, args } => {
                let component = self.component()?;
                let target = component.components.get(*component_index as usize).copied().unwrap_or_default();
                component.cost.add(InstantiationCost { component_instances: 1, ..InstantiationCost::default() });
                component.cost.add(target);
                let InstantiationCost { core_instances, component_instances, .. } = component.cost;
                self.tallies.core_instances.record(core_instances)?;
                self.tallies.component_instances.record(component_instances)?;
                // Each argument is assumed to be an instance of the largest type so far.
                self.tallies.type_work.add(self.sizes.largest.saturating_mul(args.len() as u64))?;
                self.items(args.len() as u64)
            }
            ComponentInstance::FromExports(exports) => self.items(exports.len() as u64),
        }?;
        self.sizes.instance(instance);
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) -> Result<(), ShapeError> {
        if let ComponentAlias::CoreInstanceExport { .. } = alias { self.core_items(1) } else { self.items(1) }?;
        self.sizes.alias(alias);
        match alias {
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                let cost = self.outer(*count, *index);
                self.component()?.components.push(cost);
                Ok(())
            }
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => Err(component_passed_on()),
            ComponentAlias::InstanceExport { name, .. } | ComponentAlias::CoreInstanceExport { name, .. } => {
                Ok(self.tallies.name_bytes.record(name.len() as u64)?)
            }
            ComponentAlias::Outer { .. } => Ok(()),
        }
    }

    /// The cost of component `index` in the frame that is `out` levels further out.
    fn outer(&self, out: u32, index: u32) -> InstantiationCost {
        let frame = self.frames.len().checked_sub(1 + out as usize).and_then(|index| self.frames.get(index));
        match frame {
            Some(Frame::Component(component)) => component.components.get(index as usize).copied().unwrap_or_default(),
            _ => InstantiationCost::default(),
        }
    }

    fn named(
        &mut self,
        name: &str,
        ty: Option<ComponentTypeRef>,
        kind: ComponentExternalKind,
        imported: bool,
    ) -> Result<(), ShapeError> {
        self.tallies.name_bytes.record(name.len() as u64)?;
        self.items(1)?;
        match (ty, kind) {
            (_, ComponentExternalKind::Component) => return Err(component_passed_on()),
            (Some(ComponentTypeRef::Instance(index)), _) => self.tallies.type_work.add(self.sizes.at(0, index))?,
            _ => {}
        }
        if self.frames.len() == 1 {
            let names = if imported { &mut self.shape.imports } else { &mut self.shape.exports };
            names.push(name.to_owned());
        }
        Ok(())
    }

    fn of_module(&mut self, payload: Payload<'_>) -> Result<(), ShapeError> {
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
                    self.tallies.name_bytes.record(export?.name.len() as u64)?;
                }
            }
            Payload::CodeSectionEntry(body) => self.code(&body)?,
            _ => return Err(ShapeError::Malformed("it has a section of an unknown kind".to_owned())),
        }
        Ok(())
    }

    fn core_types(&mut self, reader: TypeSectionReader<'_>) -> Result<(), ShapeError> {
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

    fn core_imports(&mut self, reader: ImportSectionReader<'_>) -> Result<(), ShapeError> {
        for import in reader.into_imports() {
            let import = import?;
            self.tallies.core_imports.add(1)?;
            self.tallies.name_bytes.record(import.module.len().max(import.name.len()) as u64)?;
            if let TypeRef::Func(index) | TypeRef::FuncExact(index) = import.ty {
                let module = self.module()?;
                module.functions.push(index);
                module.next = module.functions.len();
            }
        }
        Ok(())
    }

    fn tables(&mut self, reader: TableSectionReader<'_>) -> Result<(), ShapeError> {
        for table in reader {
            self.tallies.tables.add(1)?;
            self.tallies.table_elements.record(table?.ty.initial)?;
        }
        Ok(())
    }

    fn elements(&mut self, reader: ElementSectionReader<'_>) -> Result<(), ShapeError> {
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

    fn code(&mut self, body: &FunctionBody<'_>) -> Result<(), ShapeError> {
        let Some(Frame::Module(module)) = self.frames.last_mut() else {
            return Err(ShapeError::Malformed("code outside of a module".to_owned()));
        };
        let index = u32::try_from(module.next).unwrap_or(u32::MAX);
        module.next += 1;
        body::count(body, module.function_arity(index), module, &mut self.tallies)
    }
}

/// The error for a component that imports, exports or aliases whole components. Such components could be instantiated any
/// number of times without an instruction for it in these bytes.
fn component_passed_on() -> ShapeError {
    let reason = "it imports, exports or passes on whole components, which this host does not support; link them first";
    ShapeError::Malformed(reason.to_owned())
}

#[cfg(test)]
mod tests;

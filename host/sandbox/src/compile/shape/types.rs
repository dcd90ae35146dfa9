//! The sizes of component types with every type that they name written out. A few bytes can name a million parts, and the
//! compiler visits each part at each use.

use std::rc::Rc;

use wasmparser::{
    ComponentAlias, ComponentDefinedType, ComponentExport, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentType, ComponentTypeDeclaration, ComponentTypeRef, ComponentValType,
    InstanceTypeDeclaration, TypeBounds,
};

use self::exports::{Exported, InstanceExports};

mod exports;

/// A type: its size, and what an instance of it exports.
#[derive(Debug, Clone, Default)]
struct SizedType {
    size: u64,
    exports: Option<Rc<InstanceExports>>,
}

/// The types of one component, or of one type with its own declarations, by index. With them what its instances and nested
/// components export, as far as it is known, so that a type that is used elsewhere has the size that it was defined with.
#[derive(Debug, Default)]
struct Scope {
    types: Vec<SizedType>,
    instances: Vec<Option<Rc<InstanceExports>>>,
    components: Vec<Option<Rc<InstanceExports>>>,
    exports: InstanceExports,
}

/// The sizes of the types of the open scopes, the innermost last.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    scopes: Vec<Scope>,
    /// The largest type so far.
    pub(super) largest: u64,
    /// The largest value type so far. It is assumed for a type whose definition is not known.
    pub(super) largest_value: u64,
}

/// An upper bound on how deeply the types of a section are nested. The reader of types takes a stack frame per level, so this
/// scan runs first. At each level of nesting these two bytes are next to each other. They may also have another meaning.
pub(super) fn nested(section: &[u8]) -> u64 {
    section.windows(2).filter(|pair| matches!(pair, [0x01, 0x41 | 0x42])).count() as u64
}

impl Sizes {
    /// Opens the scope of a component.
    pub(super) fn open(&mut self) {
        self.scopes.push(Scope::default());
    }

    /// Closes the innermost scope, the one of a component. It becomes a component of the scope around it.
    pub(super) fn close(&mut self) {
        let exports = self.scopes.pop().map(|scope| Rc::new(scope.exports));
        if let Some(scope) = self.scopes.last_mut() {
            scope.components.push(exports);
        }
    }

    /// Adds a type to the innermost scope, and returns its size.
    pub(super) fn define(&mut self, ty: &ComponentType<'_>) -> u64 {
        let sized = self.of_type(ty);
        let size = sized.size;
        if !matches!(ty, ComponentType::Component(_) | ComponentType::Instance(_)) {
            self.largest_value = self.largest_value.max(size);
        }
        self.push(sized);
        size
    }

    /// Adds what an import of type `ty` defines, if it defines a type, an instance or a component.
    pub(super) fn import(&mut self, ty: ComponentTypeRef) {
        match ty {
            ComponentTypeRef::Type(bounds) => {
                let sized = match bounds {
                    TypeBounds::Eq(index) => self.sized(0, index),
                    TypeBounds::SubResource => SizedType { size: 1, exports: None },
                };
                self.push(sized);
            }
            ComponentTypeRef::Instance(index) => {
                let exports = self.sized(0, index).exports;
                self.push_instance(exports);
            }
            ComponentTypeRef::Component(_) => self.push_component(None),
            _ => {}
        }
    }

    /// As [`Sizes::import`], for an export `name` that is declared in a type.
    fn declare(&mut self, name: &str, ty: ComponentTypeRef) {
        self.import(ty);
        let Some(scope) = self.scopes.last_mut() else { return };
        let exported = match ty {
            ComponentTypeRef::Type(_) => scope.types.last().cloned().map(Exported::Type),
            ComponentTypeRef::Instance(_) => scope.instances.last().cloned().flatten().map(Exported::Instance),
            _ => None,
        };
        if let Some(exported) = exported {
            scope.exports.insert(name, exported);
        }
    }

    /// Adds an export of a component. It is also a new type or instance of the component itself.
    pub(super) fn export(&mut self, export: &ComponentExport<'_>) {
        let Some(exported) = self.exported(export) else { return };
        match exported.clone() {
            Exported::Type(sized) => self.push(sized),
            Exported::Instance(exports) => self.push_instance(Some(exports)),
        }
        if let Some(scope) = self.scopes.last_mut() {
            scope.exports.insert(export.name.name, exported);
        }
    }

    /// The type or instance that `export` stands for.
    fn exported(&self, export: &ComponentExport<'_>) -> Option<Exported> {
        match export.kind {
            ComponentExternalKind::Type => Some(Exported::Type(self.sized(0, export.index))),
            ComponentExternalKind::Instance => {
                let known = self.scopes.last().and_then(|scope| scope.instances.get(export.index as usize));
                Some(Exported::Instance(known.cloned().flatten().unwrap_or_default()))
            }
            _ => None,
        }
    }

    /// Adds an instance.
    pub(super) fn instance(&mut self, instance: &ComponentInstance<'_>) {
        let exports = match instance {
            ComponentInstance::Instantiate { component_index, .. } => {
                let components = self.scopes.last().map(|scope| &scope.components);
                components.and_then(|components| components.get(*component_index as usize)).cloned().flatten()
            }
            ComponentInstance::FromExports(listed) => {
                let mut exports = InstanceExports::default();
                for export in listed {
                    if let Some(exported) = self.exported(export) {
                        exports.insert(export.name.name, exported);
                    }
                }
                Some(Rc::new(exports))
            }
        };
        self.push_instance(exports);
    }

    /// Adds what an alias stands for, if that is a type, an instance or a component.
    pub(super) fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match *alias {
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, count, index } => {
                let sized = self.sized(count, index);
                self.push(sized);
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                let components = self.outer(count).map(|scope| &scope.components);
                let exports = components.and_then(|components| components.get(index as usize)).cloned().flatten();
                self.push_component(exports);
            }
            ComponentAlias::InstanceExport { kind, instance_index, name } => {
                let instances = self.scopes.last().map(|scope| &scope.instances);
                let instance =
                    instances.and_then(|instances| instances.get(instance_index as usize)).cloned().flatten();
                let found = instance.as_ref().and_then(|exports| exports.get(name)).cloned();
                match (kind, found) {
                    (ComponentExternalKind::Type, Some(Exported::Type(sized))) => self.push(sized),
                    (ComponentExternalKind::Type, _) => self.push(self.unknown()),
                    (ComponentExternalKind::Instance, Some(Exported::Instance(exports))) => {
                        self.push_instance(Some(exports));
                    }
                    (ComponentExternalKind::Instance, _) => self.push_instance(None),
                    (ComponentExternalKind::Component, _) => self.push_component(None),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// A type whose definition is not known: it is assumed to be as large as the largest one.
    fn unknown(&self) -> SizedType {
        SizedType { size: self.largest_value.max(1), exports: None }
    }

    fn push(&mut self, sized: SizedType) {
        self.largest = self.largest.max(sized.size);
        if let Some(scope) = self.scopes.last_mut() {
            scope.types.push(sized);
        }
    }

    fn push_instance(&mut self, exports: Option<Rc<InstanceExports>>) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.instances.push(exports);
        }
    }

    fn push_component(&mut self, exports: Option<Rc<InstanceExports>>) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.components.push(exports);
        }
    }

    /// The scope that is `out` levels further out.
    fn outer(&self, out: u32) -> Option<&Scope> {
        self.scopes.len().checked_sub(1 + out as usize).and_then(|scope| self.scopes.get(scope))
    }

    fn sized(&self, out: u32, index: u32) -> SizedType {
        let known = self.outer(out).and_then(|scope| scope.types.get(index as usize)).cloned();
        known.unwrap_or_else(|| self.unknown())
    }

    /// The size of type `index` in the scope that is `out` levels further out.
    pub(super) fn at(&self, out: u32, index: u32) -> u64 {
        let known = self.outer(out).and_then(|scope| scope.types.get(index as usize));
        known.map_or(self.largest_value, |sized| sized.size).max(1)
    }

    fn value(&self, ty: ComponentValType) -> u64 {
        match ty {
            ComponentValType::Primitive(_) => 1,
            ComponentValType::Type(index) => self.at(0, index),
        }
    }

    fn values<'a>(&self, types: impl Iterator<Item = &'a ComponentValType>) -> u64 {
        types.fold(1, |sum, ty| sum.saturating_add(1).saturating_add(self.value(*ty)))
    }

    fn of_type(&mut self, ty: &ComponentType<'_>) -> SizedType {
        let size = match ty {
            ComponentType::Defined(defined) => self.of_defined(defined),
            ComponentType::Func(function) => {
                self.values(function.params.iter().map(|(_, ty)| ty).chain(function.result.iter()))
            }
            ComponentType::Component(declarations) => {
                return self.scoped(|sizes| {
                    declarations.iter().fold(1, |sum, declared| sum.saturating_add(sizes.of_component(declared)))
                });
            }
            ComponentType::Instance(declarations) => {
                return self.scoped(|sizes| {
                    declarations.iter().fold(1, |sum, declared| sum.saturating_add(sizes.of_instance(declared)))
                });
            }
            ComponentType::Resource { .. } => 1,
        };
        SizedType { size, exports: None }
    }

    /// A type with declarations of its own. `count` adds them to its scope, and returns their size.
    fn scoped(&mut self, count: impl FnOnce(&mut Self) -> u64) -> SizedType {
        self.open();
        let size = count(self);
        SizedType { size, exports: self.scopes.pop().map(|scope| Rc::new(scope.exports)) }
    }

    fn of_component(&mut self, declared: &ComponentTypeDeclaration<'_>) -> u64 {
        match declared {
            ComponentTypeDeclaration::CoreType(_) => 1,
            ComponentTypeDeclaration::Type(ty) => self.define(ty),
            ComponentTypeDeclaration::Alias(alias) => {
                self.alias(alias);
                1
            }
            ComponentTypeDeclaration::Export { name, ty } => self.of_export(name.name, *ty),
            ComponentTypeDeclaration::Import(import) => {
                let size = self.of_named(import.ty);
                self.import(import.ty);
                size
            }
        }
    }

    fn of_instance(&mut self, declared: &InstanceTypeDeclaration<'_>) -> u64 {
        match declared {
            InstanceTypeDeclaration::CoreType(_) => 1,
            InstanceTypeDeclaration::Type(ty) => self.define(ty),
            InstanceTypeDeclaration::Alias(alias) => {
                self.alias(alias);
                1
            }
            InstanceTypeDeclaration::Export { name, ty } => self.of_export(name.name, *ty),
        }
    }

    fn of_export(&mut self, name: &str, ty: ComponentTypeRef) -> u64 {
        let size = self.of_named(ty);
        self.declare(name, ty);
        size
    }

    fn of_named(&self, ty: ComponentTypeRef) -> u64 {
        match ty {
            ComponentTypeRef::Value(value) => self.value(value),
            ComponentTypeRef::Type(TypeBounds::SubResource) | ComponentTypeRef::Module(_) => 1,
            ComponentTypeRef::Type(TypeBounds::Eq(index))
            | ComponentTypeRef::Func(index)
            | ComponentTypeRef::Instance(index)
            | ComponentTypeRef::Component(index) => self.at(0, index),
        }
    }

    fn of_defined(&self, ty: &ComponentDefinedType<'_>) -> u64 {
        match ty {
            ComponentDefinedType::Primitive(_) | ComponentDefinedType::Own(_) | ComponentDefinedType::Borrow(_) => 1,
            ComponentDefinedType::Record(fields) => self.values(fields.iter().map(|(_, ty)| ty)),
            ComponentDefinedType::Variant(cases) => {
                self.values(cases.iter().filter_map(|case| case.ty.as_ref())).saturating_add(cases.len() as u64)
            }
            ComponentDefinedType::Tuple(types) => self.values(types.iter()),
            ComponentDefinedType::Flags(names) | ComponentDefinedType::Enum(names) => 1 + names.len() as u64,
            ComponentDefinedType::List(ty) | ComponentDefinedType::Option(ty) => self.values(std::iter::once(ty)),
            // Wasmtime's conversion of such a value handles each element separately.
            ComponentDefinedType::FixedLengthList(ty, length) => {
                self.value(*ty).saturating_mul(u64::from(*length)).saturating_add(1)
            }
            ComponentDefinedType::Map(key, value) => self.values([key, value].into_iter()),
            ComponentDefinedType::Result { ok, err } => self.values(ok.iter().chain(err.iter())),
            ComponentDefinedType::Future(ty) | ComponentDefinedType::Stream(ty) => self.values(ty.iter()),
        }
    }
}

//! The sizes of component types with every type that they name written out. A few bytes can name a million parts, and the
//! compiler visits each part at each use.

use wasmparser::{
    ComponentAlias, ComponentDefinedType, ComponentOuterAliasKind, ComponentType, ComponentTypeDeclaration,
    ComponentTypeRef, ComponentValType, InstanceTypeDeclaration, TypeBounds,
};

/// The sizes of the types of one component, or of one type with its own declarations, by index.
type Scope = Vec<u64>;

/// The open scopes, the innermost last.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    scopes: Vec<Scope>,
    /// The largest type so far.
    pub(super) largest: u64,
    /// The largest value type so far. It is assumed for a type whose definition is elsewhere.
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
        self.scopes.push(Scope::new());
    }

    /// Closes the innermost scope.
    pub(super) fn close(&mut self) {
        self.scopes.pop();
    }

    /// Adds a type to the innermost scope, and returns its size.
    pub(super) fn define(&mut self, ty: &ComponentType<'_>) -> u64 {
        let size = self.of_type(ty);
        if !matches!(ty, ComponentType::Component(_) | ComponentType::Instance(_)) {
            self.largest_value = self.largest_value.max(size);
        }
        self.push(size);
        size
    }

    /// Adds the type that an import or export of type `ty` defines, if it defines one.
    pub(super) fn name(&mut self, ty: ComponentTypeRef) {
        if let ComponentTypeRef::Type(bounds) = ty {
            let size = match bounds {
                TypeBounds::Eq(index) => self.at(0, index),
                TypeBounds::SubResource => 1,
            };
            self.push(size);
        }
    }

    /// Adds a type whose definition is elsewhere.
    pub(super) fn unknown(&mut self) {
        self.push(self.largest_value.max(1));
    }

    /// Adds the type of an alias, if it is an alias of a type.
    pub(super) fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, count, index } => {
                let size = self.at(*count, *index);
                self.push(size);
            }
            ComponentAlias::InstanceExport { kind: wasmparser::ComponentExternalKind::Type, .. } => self.unknown(),
            _ => {}
        }
    }

    fn push(&mut self, size: u64) {
        self.largest = self.largest.max(size);
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(size);
        }
    }

    /// The size of type `index` in the scope that is `out` levels further out.
    pub(super) fn at(&self, out: u32, index: u32) -> u64 {
        let scope = self.scopes.len().checked_sub(1 + out as usize).and_then(|scope| self.scopes.get(scope));
        scope.and_then(|scope| scope.get(index as usize)).copied().unwrap_or(self.largest_value).max(1)
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

    fn of_type(&mut self, ty: &ComponentType<'_>) -> u64 {
        match ty {
            ComponentType::Defined(defined) => self.of_defined(defined),
            ComponentType::Func(function) => {
                self.values(function.params.iter().map(|(_, ty)| ty).chain(function.result.iter()))
            }
            ComponentType::Component(declarations) => self.scoped(|sizes| {
                declarations.iter().fold(1, |sum, declared| sum.saturating_add(sizes.of_component(declared)))
            }),
            ComponentType::Instance(declarations) => self.scoped(|sizes| {
                declarations.iter().fold(1, |sum, declared| sum.saturating_add(sizes.of_instance(declared)))
            }),
            ComponentType::Resource { .. } => 1,
        }
    }

    fn scoped(&mut self, count: impl FnOnce(&mut Self) -> u64) -> u64 {
        self.open();
        let size = count(self);
        self.close();
        size
    }

    fn of_component(&mut self, declared: &ComponentTypeDeclaration<'_>) -> u64 {
        match declared {
            ComponentTypeDeclaration::CoreType(_) => 1,
            ComponentTypeDeclaration::Type(ty) => self.define(ty),
            ComponentTypeDeclaration::Alias(alias) => {
                self.alias(alias);
                1
            }
            ComponentTypeDeclaration::Export { ty, .. } => self.of_named(*ty),
            ComponentTypeDeclaration::Import(import) => self.of_named(import.ty),
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
            InstanceTypeDeclaration::Export { ty, .. } => self.of_named(*ty),
        }
    }

    fn of_named(&mut self, ty: ComponentTypeRef) -> u64 {
        let size = match ty {
            ComponentTypeRef::Value(value) => self.value(value),
            ComponentTypeRef::Type(TypeBounds::SubResource) | ComponentTypeRef::Module(_) => 1,
            ComponentTypeRef::Type(TypeBounds::Eq(index))
            | ComponentTypeRef::Func(index)
            | ComponentTypeRef::Instance(index)
            | ComponentTypeRef::Component(index) => self.at(0, index),
        };
        self.name(ty);
        size
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

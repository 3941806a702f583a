//! A component that is linked and ready for calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rpc_host_protocol::operation::Description;
use rpc_host_protocol::types::{Name, Type};
use rpc_host_protocol::value::Handle;
use wasmtime::Engine;
use wasmtime::component::{ComponentExportIndex, InstancePre, Linker};

use super::artifact::Opened;
use super::docs::Docs;
use super::encoded::is_data;
use super::import::Imports;
use super::types::Converter;
use super::types::same_resource;
use super::{
    CallLimits, Function, Functions, Handles, Import, InstanceId, Resource, SandboxError, State,
    engine, import, types,
};
use crate::capability::Kinds;

/// How many times as much as its letters a flag takes at most that is a value of the engine's.
const FLAG_BYTES: u64 = 24;

/// A component with what it is granted, checked and linked: all that a call needs but the instance.
pub struct Prepared {
    pub(super) pre: InstancePre<State>,
    pub(super) exports: Vec<ComponentExportIndex>,
    functions: Functions,
    imports: Imports,
    /// The resources that it exports.
    exported: Arc<[Resource]>,
    wit: String,
    docs: Docs,
    /// How many places of live instances one of its instances takes.
    pub(super) places: u32,
    size_bytes: u64,
    /// Whether its guests call out when they are started, as far as that is known.
    calls_out_at_start: AtomicBool,
    /// Whether flags that its guests hand over become values of the engine's.
    makes_flags: bool,
}

impl Prepared {
    pub(super) fn link(
        runtime: &Engine,
        mut linker: Linker<State>,
        opened: Opened,
        kinds: Kinds,
    ) -> Result<Prepared, SandboxError> {
        let Opened {
            component,
            wit,
            docs,
        } = opened;
        let mut converter = Converter::new();
        let imports = import::define(runtime, &mut linker, &component, kinds, &mut converter)?;
        let pre = linker.instantiate_pre(&component).map_err(|error| {
            SandboxError::InvalidComponent(format!(
                "an import does not fit what the node has: {error:#}"
            ))
        })?;
        let imported = converter.introduced().count();
        let functions = types::functions(runtime, &component, &mut converter)?;
        let functions = docs.added_to(functions);
        let exported = converter.introduced().skip(imported).cloned().collect();
        if functions.is_empty() {
            return Err(SandboxError::NotAComponent(
                "this component exports no function (a WIT package has none either); upload a \
                 component that implements something"
                    .to_owned(),
            ));
        }
        let export = |function: &Function| {
            let instance = match &function.interface {
                None => None,
                Some(interface) => Some(component.get_export_index(None, &**interface)?),
            };
            component.get_export_index(instance.as_ref(), &*function.name)
        };
        let exports = functions.iter().map(export).collect::<Option<_>>();
        let exports =
            exports.ok_or_else(|| SandboxError::Internal("an export has no index".to_owned()))?;
        let makes_flags = {
            let by_values = |function: &&Function| !is_data(&function.signature);
            let imported = imports.all.iter().flat_map(|one| &one.functions);
            let mut imported = imported.filter(by_values);
            let mut exported = functions.iter().filter(by_values);
            let holds_flags = |ty: &Type| ty.any(&|ty| matches!(ty, Type::Flags(_)));
            let takes_flags = |function: &Function| {
                let mut parameters = function.signature.parameters.iter();
                parameters.any(|one| holds_flags(&one.ty))
            };
            let gives_flags = |function: &Function| {
                let result = &function.signature.result;
                result.as_ref().is_some_and(holds_flags)
            };
            imported.any(takes_flags) || exported.any(gives_flags)
        };
        let code = component.image_range();
        let code_bytes = code.end.addr().saturating_sub(code.start.addr());
        Ok(Prepared {
            pre,
            places: engine::places(&component),
            calls_out_at_start: AtomicBool::new(false),
            makes_flags,
            size_bytes: code_bytes
                .saturating_add(wit.len())
                .saturating_add(docs.size_bytes()) as u64,
            exports,
            functions: Functions::new(functions),
            imports,
            exported,
            wit,
            docs,
        })
    }

    /// Bytes of memory that it takes as long as it is kept, most of them its code.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// What its instances may use of these limits. The engine counts a flag of its dynamic values as the letters of
    /// its name, and makes a text of it, which takes many times as much.
    pub(super) fn narrowed(&self, limits: CallLimits) -> CallLimits {
        let part = if self.makes_flags { FLAG_BYTES } else { 1 };
        CallLimits {
            max_hostcall_bytes: limits.max_hostcall_bytes / part,
            ..limits
        }
    }

    /// Whether its guests have been found to call out when they are started: a call can see that, so none of them
    /// is started before its call comes.
    pub(super) fn calls_out_at_start(&self) -> bool {
        self.calls_out_at_start.load(Ordering::Relaxed)
    }

    pub(super) fn note_call_out_at_start(&self) {
        self.calls_out_at_start.store(true, Ordering::Relaxed);
    }

    /// What can be called.
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// What the component imports, and what stands behind it.
    pub fn imports(&self) -> &[Import] {
        &self.imports.all
    }

    /// How many places of live instances one of its instances takes.
    pub fn places(&self) -> u32 {
        self.places
    }

    /// Whether a call may lead to others: the component imports what the node does not serve itself.
    pub fn leads_on(&self) -> bool {
        self.imports.all.iter().any(|one| !one.functions.is_empty())
    }

    /// The resources of others that it imports.
    pub(super) fn resources(&self) -> &Arc<[Resource]> {
        &self.imports.resources
    }

    /// The resources of its own.
    pub(super) fn exported(&self) -> &Arc<[Resource]> {
        &self.exported
    }

    /// The resource of this name that it imports, if it is one of those.
    pub fn imported_resource(&self, name: &Name) -> Option<&Resource> {
        let mut imported = self.imports.resources.iter();
        imported.find(|one| same_resource(&one.name, name))
    }

    /// What it calls the resource of this name.
    pub fn resource_text(&self, name: &Name) -> String {
        let mut known = self.imports.resources.iter().chain(self.exported.iter());
        let known = known.find(|one| same_resource(&one.name, name));
        known.map_or_else(|| name.to_string(), Resource::to_string)
    }

    /// Whether one of its instances, if there is one, takes an object where the resource of this name is
    /// wanted: one of its own that lives in it, or one of others that is of the resource that it imports.
    pub fn takes(
        &self,
        instance: Option<InstanceId>,
        name: &Name,
        (handles, object): (&Handles, Handle),
    ) -> bool {
        match self.imported_resource(name) {
            Some(imported) => handles.answers_for(object, imported),
            None => instance.is_some_and(|owner| handles.is_of(object, owner, name)),
        }
    }

    /// What it exports, as data: all of it, or the one function that a call of this path would mean.
    ///
    /// # Errors
    /// When there is no such function.
    pub fn describe(&self, function: Option<&str>) -> Result<Description, SandboxError> {
        let mut description = self.functions.describe(function, &self.exported)?;
        self.docs.add_to(&mut description);
        Ok(description)
    }

    /// Its world as WIT text; empty where WIT cannot express it.
    pub fn wit(&self) -> &str {
        &self.wit
    }
}

//! The service of tonic, as its generator writes it. Described here rather than in a `.proto`, so that no `protoc` is needed.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let messages = "crate::tonic_peer::messages";
    let codec = "tonic_prost::ProstCodec";
    let method = |name: &str, route: &str, input: &str, output: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(format!("{messages}::{input}"))
            .output_type(format!("{messages}::{output}"))
            .codec_path(codec)
            .build()
    };
    let service = Service::builder()
        .package("bench")
        .name("Echo")
        .method(method("add", "Add", "Numbers", "Sum"))
        .method(method("bytes", "Bytes", "Blob", "Blob"))
        .method(method("records", "Records", "Records", "Records"))
        .method(method("text", "Text", "Text", "Text"))
        .method(method("make", "Make", "Length", "Blob"))
        .build();
    Builder::new().compile(&[service]);
}

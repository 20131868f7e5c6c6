# berth_proto: messages and gRPC stubs of proto/, generated into gen/ of the build folder.
# Quoted includes: "berth/v1/berth.grpc.pb.h".
pkg_check_modules(GRPCPP REQUIRED IMPORTED_TARGET grpc++ protobuf)
find_program(BERTH_PROTOC protoc REQUIRED)
find_program(BERTH_GRPC_PLUGIN grpc_cpp_plugin REQUIRED)
set(gen ${CMAKE_BINARY_DIR}/gen)
file(MAKE_DIRECTORY ${gen})
set(sources)
foreach(name berth/v1/berth)
  add_custom_command(
    OUTPUT ${gen}/${name}.pb.cc ${gen}/${name}.pb.h ${gen}/${name}.grpc.pb.cc ${gen}/${name}.grpc.pb.h
    COMMAND ${BERTH_PROTOC} -I ${CMAKE_SOURCE_DIR}/proto --cpp_out=${gen} --grpc_out=${gen}
            --plugin=protoc-gen-grpc=${BERTH_GRPC_PLUGIN} ${CMAKE_SOURCE_DIR}/proto/${name}.proto
    DEPENDS ${CMAKE_SOURCE_DIR}/proto/${name}.proto VERBATIM)
  list(APPEND sources ${gen}/${name}.pb.cc ${gen}/${name}.grpc.pb.cc)
endforeach()
add_library(berth_proto STATIC ${sources})
target_include_directories(berth_proto SYSTEM PUBLIC ${gen})
target_link_libraries(berth_proto PUBLIC PkgConfig::GRPCPP Threads::Threads)

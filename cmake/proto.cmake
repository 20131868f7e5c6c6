# berth_proto: messages and gRPC stubs of proto/, generated into gen/ of the build folder.
# Quoted includes: "berth/v1/berth.grpc.pb.h".
# One call of pkg-config, not pkg_check_modules' dozen: each takes half a second to walk Abseil's dependencies.
execute_process(COMMAND ${PKG_CONFIG_EXECUTABLE} --libs-only-l grpc++ protobuf
                OUTPUT_VARIABLE grpc_flags OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REGEX REPLACE "-l" "" grpc_flags "${grpc_flags}")
separate_arguments(grpc_flags)
list(PREPEND grpc_flags grpc++_reflection)
list(REMOVE_DUPLICATES grpc_flags)
# gRPC and what only gRPC brings (60 shared objects of Abseil) from their archives: a program that ends after 5 ms would
# spend 7 more on relocating them. What distributions patch in a hurry (OpenSSL, zlib, the C library) stays shared. Under
# the thread sanitizer all of it stays shared: tests/tsan.supp can then tell its code, which is not instrumented, from ours.
set(grpc_archives)
set(grpc_others)
foreach(name IN LISTS grpc_flags)
  find_library(BERTH_LIBRARY_${name} ${name})
  mark_as_advanced(BERTH_LIBRARY_${name})
  set(library ${BERTH_LIBRARY_${name}})
  if(NOT library)  # the compiler's own, as libatomic
    set(library ${name})
  endif()
  string(REGEX REPLACE "\\.so$" ".a" archive ${library})
  get_filename_component(file ${archive} NAME)
  if(file MATCHES "^lib(grpc|gpr|absl|protobuf|upb|re2|address_sorting|cares)" AND EXISTS ${archive} AND NOT BERTH_SANITIZE STREQUAL "thread")
    list(APPEND grpc_archives ${archive})
  else()
    list(APPEND grpc_others ${library})
  endif()
endforeach()
list(REMOVE_DUPLICATES grpc_archives)
find_program(BERTH_PROTOC protoc REQUIRED)
find_program(BERTH_GRPC_PLUGIN grpc_cpp_plugin REQUIRED)
set(gen ${CMAKE_BINARY_DIR}/gen)
file(MAKE_DIRECTORY ${gen})
set(sources)
foreach(name berth/v1/berth berth/v1/explain berth/v1/node runtime/v1/api)
  add_custom_command(
    OUTPUT ${gen}/${name}.pb.cc ${gen}/${name}.pb.h ${gen}/${name}.grpc.pb.cc ${gen}/${name}.grpc.pb.h
    COMMAND ${BERTH_PROTOC} -I ${CMAKE_SOURCE_DIR}/proto --cpp_out=${gen} --grpc_out=${gen}
            --plugin=protoc-gen-grpc=${BERTH_GRPC_PLUGIN} ${CMAKE_SOURCE_DIR}/proto/${name}.proto
    DEPENDS ${CMAKE_SOURCE_DIR}/proto/${name}.proto VERBATIM)
  list(APPEND sources ${gen}/${name}.pb.cc ${gen}/${name}.grpc.pb.cc)
endforeach()
add_library(berth_proto STATIC ${sources})
target_include_directories(berth_proto SYSTEM PUBLIC ${gen})
if(grpc_archives)
  list(JOIN grpc_archives "," grpc_archives)
  target_link_libraries(berth_proto PUBLIC "$<LINK_GROUP:RESCAN,${grpc_archives}>")
endif()
target_link_libraries(berth_proto PUBLIC ${grpc_others} Threads::Threads)
if(BERTH_SANITIZE STREQUAL "thread")
  target_compile_options(berth_proto INTERFACE "SHELL:-include ${CMAKE_CURRENT_LIST_DIR}/tsan_protobuf.h")
endif()

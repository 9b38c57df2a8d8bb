# The words a folder's CMakeLists.txt is written in. One line each:
#   weft_layer(NAME [USES layer…] [LIBS pkg-config-name…] [FOLDERS folder…] [PURE])   the folder's *.c, and those of folders in it, as one static
#                                                                   library
#   weft_program(NAME SOURCES file… USES layer… [LIBS …])           a program in the build directory
#   weft_unit(NAME USES layer… [LIBS …])                            tests/unit/NAME.c, one cmocka program
#   weft_fuzz(NAME USES layer… [LIBS …])                            tests/fuzz/NAME.c + corpus/NAME + regression/NAME
#   weft_sim(NAME ARGS …)                                           a run of build/weft-sim as a test
#   weft_layer_check()                                              once, after all layers: tests/layers.sh as a test
# Test programs are built by the target weft_tests, not by all.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# Assertions are part of the program in every build type.
foreach(type RELEASE RELWITHDEBINFO MINSIZEREL)
  string(REGEX REPLACE "[-/]DNDEBUG" "" CMAKE_C_FLAGS_${type} "${CMAKE_C_FLAGS_${type}}")
endforeach()

add_library(weft_flags INTERFACE)
target_compile_options(weft_flags INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wvla -Wswitch-enum -Wmissing-prototypes -Wstrict-prototypes
  -Wformat=2 -Wpointer-arith -Wundef -fno-common -fstack-protector-strong
  $<$<BOOL:${WEFT_WERROR}>:-Werror>)
target_compile_definitions(weft_flags INTERFACE _GNU_SOURCE WEFT_VERSION="${PROJECT_VERSION}")
target_include_directories(weft_flags INTERFACE ${PROJECT_SOURCE_DIR})
if(WEFT_SANITIZE)
  target_compile_options(weft_flags INTERFACE -fsanitize=${WEFT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(weft_flags INTERFACE -fsanitize=${WEFT_SANITIZE})
endif()
if(WEFT_FUZZ)
  target_compile_options(weft_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Links TARGET against layers and pkg-config packages. SCOPE is PUBLIC or PRIVATE.
function(weft_link target scope)
  cmake_parse_arguments(A "" "" "USES;LIBS" ${ARGN})
  target_link_libraries(${target} ${scope} weft_flags)
  foreach(layer ${A_USES})
    target_link_libraries(${target} ${scope} weft_${layer})
  endforeach()
  foreach(lib ${A_LIBS})
    string(MAKE_C_IDENTIFIER "pkg_${lib}" id)
    if(NOT TARGET PkgConfig::${id})
      pkg_check_modules(${id} REQUIRED IMPORTED_TARGET GLOBAL ${lib})
    endif()
    target_link_libraries(${target} ${scope} PkgConfig::${id})
  endforeach()
endfunction()

function(weft_layer name)
  cmake_parse_arguments(A "PURE" "" "USES;LIBS;FOLDERS" ${ARGN})
  set(globs ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
  foreach(folder ${A_FOLDERS})
    list(APPEND globs ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.c)
  endforeach()
  file(GLOB src CONFIGURE_DEPENDS ${globs})
  if(NOT src)
    message(FATAL_ERROR "layer ${name}: no *.c in ${CMAKE_CURRENT_SOURCE_DIR}")
  endif()
  add_library(weft_${name} STATIC ${src})
  weft_link(weft_${name} PUBLIC USES ${A_USES} LIBS ${A_LIBS})
  # One line of layers.txt: name, folder, pure or not, layers used, archive.
  file(RELATIVE_PATH dir ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  string(JOIN "," uses ${A_USES})
  if(NOT uses)
    set(uses "-")
  endif()
  set(purity "-")
  if(A_PURE)
    set(purity "PURE")
  endif()
  set_property(GLOBAL APPEND_STRING PROPERTY WEFT_LAYERS "${name} ${dir} ${purity} ${uses} $<TARGET_FILE:weft_${name}>\n")
endfunction()

function(weft_layer_check)
  get_property(layers GLOBAL PROPERTY WEFT_LAYERS)
  file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/layers.txt CONTENT "${layers}")
  # Sanitizers put calls and variables of their own into every object: the plain build is the one to check.
  if(NOT WEFT_SANITIZE)
    add_test(NAME layers COMMAND ${PROJECT_SOURCE_DIR}/tests/layers.sh ${CMAKE_BINARY_DIR})
    add_test(NAME layers-self-test COMMAND ${PROJECT_SOURCE_DIR}/tests/layers.sh --self-test ${CMAKE_BINARY_DIR})
    set_tests_properties(layers layers-self-test PROPERTIES LABELS unit TIMEOUT 120)
  endif()
endfunction()

function(weft_program name)
  cmake_parse_arguments(A "" "" "SOURCES;USES;LIBS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  weft_link(${name} PRIVATE USES ${A_USES} LIBS ${A_LIBS})
endfunction()

add_custom_target(weft_tests)

function(weft_test_program target)
  add_executable(${target} EXCLUDE_FROM_ALL)
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_dependencies(weft_tests ${target})
endfunction()

function(weft_unit name)
  cmake_parse_arguments(A "" "" "USES;LIBS" ${ARGN})
  string(REPLACE "/" "_" target unit_${name})
  weft_test_program(${target})
  target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests/unit/${name}.c)
  target_compile_definitions(${target} PRIVATE
    WEFT_GOLDEN="${PROJECT_SOURCE_DIR}/tests/golden")
  weft_link(${target} PRIVATE USES ${A_USES} LIBS cmocka ${A_LIBS})
  add_test(NAME unit/${name} COMMAND ${target})
  set_tests_properties(unit/${name} PROPERTIES LABELS unit TIMEOUT 300)
endfunction()

# A fuzz target defines LLVMFuzzerTestOneInput. Everywhere it is linked with tests/fuzz/replay.c, which runs it over its
# corpus/ and regression/ folders in ctest; with WEFT_FUZZ (clang) a second program fuzz_NAME runs it under libFuzzer.
function(weft_fuzz name)
  cmake_parse_arguments(A "" "" "USES;LIBS" ${ARGN})
  set(dir ${PROJECT_SOURCE_DIR}/tests/fuzz)
  weft_test_program(replay_${name})
  target_sources(replay_${name} PRIVATE ${dir}/${name}.c ${dir}/replay.c)
  weft_link(replay_${name} PRIVATE USES ${A_USES} LIBS ${A_LIBS})
  add_test(NAME fuzz/${name} COMMAND replay_${name} ${dir}/corpus/${name} ${dir}/regression/${name})
  set_tests_properties(fuzz/${name} PROPERTIES LABELS unit TIMEOUT 120)
  if(WEFT_FUZZ)
    weft_test_program(fuzz_${name})
    target_sources(fuzz_${name} PRIVATE ${dir}/${name}.c)
    weft_link(fuzz_${name} PRIVATE USES ${A_USES} LIBS ${A_LIBS})
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  endif()
endfunction()

function(weft_sim name)
  cmake_parse_arguments(A "" "" "ARGS" ${ARGN})
  add_test(NAME sim/${name} COMMAND weft-sim ${A_ARGS})
  set_tests_properties(sim/${name} PROPERTIES LABELS sim TIMEOUT 900)
endfunction()

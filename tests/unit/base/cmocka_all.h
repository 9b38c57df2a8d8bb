/* cmocka.h wants these before it. */
#ifndef WEFT_TESTS_UNIT_BASE_CMOCKA_ALL_H
#define WEFT_TESTS_UNIT_BASE_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif

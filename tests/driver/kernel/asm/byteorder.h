#pragma once
#include_next <asm/byteorder.h>
#define cpu_to_le32 __cpu_to_le32
#define cpu_to_le64 __cpu_to_le64

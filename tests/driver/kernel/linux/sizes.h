#pragma once
#define SZ_1G 0x40000000

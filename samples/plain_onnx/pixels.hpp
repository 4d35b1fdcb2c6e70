// Pictures for ONNX Runtime: binary PPM or PGM files of the size that the model takes.
#pragma once
#include <cstdint>
#include <fstream>
#include <onnxruntime_cxx_api.h>
#include <stdexcept>
#include <string>
#include <vector>

struct Picture {
  std::vector<uint8_t> values;
  std::vector<int64_t> shape; // 1, H, W, C

  explicit Picture(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    int64_t width = 0, height = 0, largest = 0;
    file >> kind >> width >> height >> largest;
    file.get(); // one blank ends the header
    if (!file || (kind != "P5" && kind != "P6") || width < 1 || height < 1 || width > 8192 || height > 8192 || largest != 255)
      throw std::runtime_error(path + " is no binary PPM or PGM file; convert the picture first.");
    shape = {1, height, width, kind == "P6" ? 3 : 1};
    values.resize(height * width * shape[3]);
    file.read(reinterpret_cast<char *>(values.data()), values.size());
    if (!file)
      throw std::runtime_error(path + " ends before its last pixel.");
  }

  // uint8 [1, H, W, C]; it refers to the picture's values.
  Ort::Value batch() {
    auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeCPU);
    return Ort::Value::CreateTensor<uint8_t>(memory, values.data(), values.size(), shape.data(), shape.size());
  }
};

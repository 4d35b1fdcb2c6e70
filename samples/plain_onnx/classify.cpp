// Classify with a baked classifier and nothing but ONNX Runtime.
//
//     edge-adapt bake mine.edge -o mine.onnx
//     c++ -std=c++17 classify.cpp -o classify -I/usr/include/onnxruntime -lonnxruntime
//     ./classify mine.onnx photo.ppm
//
// JSON is read by nlohmann/json (Debian: g++, libonnxruntime-dev, nlohmann-json3-dev).
#include "pixels.hpp"
#include <cstdio>
#include <nlohmann/json.hpp>

int main(int count, char **arguments) try {
  if (count < 3)
    throw std::runtime_error("classify MODEL.onnx PICTURE...");
  Ort::Env environment;
  Ort::Session session(environment, arguments[1], Ort::SessionOptions());
  Ort::AllocatorWithDefaultOptions allocator;
  auto metadata = session.GetModelMetadata();
  auto said = [&](const char *key) {
    return nlohmann::json::parse(metadata.LookupCustomMetadataMapAllocated(key, allocator).get());
  };
  const auto labels = said("labels").get<std::vector<std::string>>();
  const auto unknown_at = said("unknown_at");
  const char *inputs[] = {"images"}, *outputs[] = {"probabilities", "index", "familiarity"};
  for (int i = 2; i < count; i++) {
    Picture picture(arguments[i]);
    auto images = picture.batch();
    auto answers = session.Run(Ort::RunOptions(), inputs, &images, 1, outputs, session.GetOutputCount());
    const int64_t best = *answers[1].GetTensorData<int64_t>();
    const bool known = answers.size() < 3 || *answers[2].GetTensorData<float>() >= unknown_at.get<float>();
    std::printf("%s\t%s\t%.4f\n", arguments[i], known ? labels.at(best).c_str() : "unknown",
                answers[0].GetTensorData<float>()[best]);
  }
  return 0;
} catch (const std::exception &error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}

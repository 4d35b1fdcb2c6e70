// Adapt and classify with the three graphs of a bundle: what edge-adapt does, in C++, with nothing but ONNX Runtime.
//
//     c++ -std=c++17 adapt.cpp -o adapt -I/usr/include/onnxruntime -lonnxruntime
//     ./adapt model.edge support/cat/1.ppm support/cat/2.ppm support/dog/1.ppm -- new.ppm
//
// A picture to learn from lies in a folder named as its class. JSON is read by nlohmann/json (Debian: g++,
// libonnxruntime-dev, nlohmann-json3-dev).
#include "pixels.hpp"
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

using Names = std::vector<std::string>;

// A number of so many bytes, the lowest first.
static size_t number(const std::string &data, size_t at, int bytes) {
  size_t value = 0;
  for (int i = 0; i < bytes; i++)
    value |= size_t(uint8_t(data.at(at + i))) << 8 * i;
  return value;
}

// The entries of a bundle: a zip whose entries are stored, as docs/bundle-format.md has it.
static std::map<std::string, std::string> entries(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw std::runtime_error(path + " cannot be read.");
  const std::string data(std::istreambuf_iterator<char>(file), {});
  const size_t end = data.rfind("PK\5\6");
  if (end == std::string::npos)
    throw std::runtime_error(path + " is no bundle.");
  std::map<std::string, std::string> found;
  size_t at = number(data, end + 16, 4);
  for (size_t left = number(data, end + 10, 2); left > 0; left--) {
    const size_t size = number(data, at + 24, 4), name = number(data, at + 28, 2), local = number(data, at + 42, 4);
    const size_t start = local + 30 + number(data, local + 26, 2) + number(data, local + 28, 2);
    found[data.substr(at + 46, name)] = data.substr(start, size);
    at += 46 + name + number(data, at + 30, 2) + number(data, at + 32, 2);
  }
  return found;
}

// One of the three graphs, run by the names of what goes in and what comes out.
class Graph {
public:
  Graph(Ort::Env &environment, const std::string &bytes)
      : session(environment, bytes.data(), bytes.size(), Ort::SessionOptions()) {}

  std::vector<Ort::Value> run(const Names &inputs, const std::vector<Ort::Value> &values, const Names &outputs) {
    const auto in = pointers(inputs), out = pointers(outputs);
    return session.Run(Ort::RunOptions(), in.data(), values.data(), in.size(), out.data(), out.size());
  }

private:
  static std::vector<const char *> pointers(const Names &names) {
    std::vector<const char *> found;
    for (const auto &name : names)
      found.push_back(name.c_str());
    return found;
  }
  Ort::Session session;
};

// A tensor that refers to the values.
template <typename T> static Ort::Value tensor(std::vector<T> &values, const std::vector<int64_t> &shape) {
  auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeCPU);
  return Ort::Value::CreateTensor<T>(memory, values.data(), values.size(), shape.data(), shape.size());
}

static std::string class_of(const std::string &file) {
  return std::filesystem::path(file).parent_path().filename().string();
}

static Ort::Value features_of(Graph &embed, const std::string &file) {
  Picture picture(file);
  std::vector<Ort::Value> images;
  images.push_back(picture.batch());
  return std::move(embed.run({"images"}, images, {"features"})[0]);
}

int main(int count, char **arguments) try {
  const Names words(arguments + 1, arguments + count);
  const auto dashes = std::find(words.begin(), words.end(), "--");
  if (words.empty() || dashes == words.begin() || dashes == words.end())
    throw std::runtime_error("adapt MODEL.edge SUPPORT... -- QUERY...");
  const Names support(words.begin() + 1, dashes), queries(dashes + 1, words.end());
  const auto bundle = entries(words[0]);
  const auto manifest = nlohmann::json::parse(bundle.at("manifest.json"));
  Ort::Env environment;
  Graph embed(environment, bundle.at("embed.onnx")), adapt(environment, bundle.at("adapt.onnx")),
      predict(environment, bundle.at("predict.onnx"));

  std::set<std::string> classes;
  for (const auto &file : support)
    classes.insert(class_of(file));
  const Names labels(classes.begin(), classes.end());
  const int64_t shots = support.size(), size = manifest.at("feature_size");
  std::vector<float> features;
  std::vector<int64_t> targets, n_way{int64_t(labels.size())}, steps{manifest.at("default_steps").get<int64_t>()};
  for (const auto &file : support) {
    const auto one = features_of(embed, file);
    features.insert(features.end(), one.GetTensorData<float>(), one.GetTensorData<float>() + size);
    targets.push_back(std::find(labels.begin(), labels.end(), class_of(file)) - labels.begin());
  }
  std::vector<Ort::Value> task;
  task.push_back(tensor(features, {shots, size}));
  task.push_back(tensor(targets, {shots}));
  task.push_back(tensor(n_way, {}));
  task.push_back(tensor(steps, {}));
  const Names head_state = manifest.at("head_state").get<Names>();
  auto inputs_of_predict = adapt.run({"features", "targets", "n_way", "steps"}, task, head_state);

  Names names = head_state;
  names.push_back("features");
  for (const auto &file : queries) {
    inputs_of_predict.push_back(features_of(embed, file));
    const auto logits = predict.run(names, inputs_of_predict, {"logits"});
    inputs_of_predict.pop_back();
    const float *first = logits[0].GetTensorData<float>();
    std::printf("%s\t%s\n", file.c_str(), labels[std::max_element(first, first + labels.size()) - first].c_str());
  }
  return 0;
} catch (const std::exception &error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
